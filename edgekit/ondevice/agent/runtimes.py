"""The runtimes that run a model file. Each is imported when it is first asked for."""

import sys


class Onnxruntime:
    """A model file in onnxruntime, on the CPU; `changes` is called with the session's options before it is loaded."""

    def __init__(self, path, threads, changes=None):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        if changes is not None:
            changes(settings)
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self.names = [i.name for i in self.session.get_inputs()]

    def run(self, inputs):
        return self.session.run(None, dict(zip(self.names, inputs)))

    @staticmethod
    def version():
        import onnxruntime

        return onnxruntime.__version__


class Litert:
    """A model file in LiteRT (or its predecessor), XNNPACK on."""

    def __init__(self, path, threads):
        self.interpreter = Litert.module().Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.inputs = [d["index"] for d in self.interpreter.get_input_details()]
        self.outputs = [d["index"] for d in self.interpreter.get_output_details()]

    def run(self, inputs):
        for index, value in zip(self.inputs, inputs):
            self.interpreter.set_tensor(index, value)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]

    @staticmethod
    def module():
        try:
            from ai_edge_litert import interpreter
        except ImportError:
            from tflite_runtime import interpreter
        return interpreter

    @staticmethod
    def version():
        package = Litert.module().__name__.partition(".")[0]
        version = str(getattr(sys.modules[package], "__version__", "unknown"))
        return version if package == "ai_edge_litert" else package.replace("_", "-") + " " + version


RUNTIMES = {"onnxruntime": Onnxruntime, "litert": Litert}
