"""The options of trtexec by version, as sampleOptions.cpp of each release has them (TensorRT tags 8.2.1 to v11.1)."""

from edgekit.errors import TargetError

VERSIONS = ("8.2", "8.4", "8.5", "8.6", "10.0", "10.3", "10.7", "10.13", "10.16", "11.0", "11.1")
"""The releases that were read; one between two of them has what the older has."""

_SPANS = {
    "8.2-8.6": """
        batch buildOnly deploy explicitBatch explicitPrecision maxBatch minTiming model nvtxMode output uff uffInput
        uffNHWC workspace
    """,
    "8.2-10.3 10.13-": "consistency",
    "8.2-10.16": "best calib fp16 maxShapesCalib minShapesCalib optShapesCalib precisionConstraints restricted",
    "8.2-": """
        allowGPUFallback avgRuns avgTiming device directIO dumpLayerInfo dumpOutput dumpProfile dumpRefit duration
        exportLayerInfo exportOutput exportProfile exportTimes exposeDMA help idleTime inputIOFormats int8 iterations
        loadEngine loadInputs maxShapes minShapes noBuilderCache noDataTransfers noTF32 onnx optShapes outputIOFormats
        percentile plugins profilingVerbosity refit safe saveEngine separateProfileRun serialized shapes sleepTime
        sparsity streams tacticSources threads timeDeserialize timeRefit timingCacheFile useCudaGraph useDLACore
        useManagedMemory useSpinWait verbose warmUp
    """,
    "8.4-10.16": "layerOutputTypes layerPrecision layerPrecisions",
    "8.4-": "memPoolSize std",
    "8.5-8.6": "heuristic",
    "8.5-": "persistentCacheRatio preview",
    "8.6-8.6": "nativeInstanceNorm ni",
    "8.6-10.16": "fp8",
    "8.6-": """
        buildDLAStandalone builderOptimizationLevel dumpRawBindingsToFile dynamicPlugins excludeLeanRuntime
        hardwareCompatibilityLevel ignoreParsedPluginLibs infStreams layerDeviceTypes leanDLLPath maxAuxStreams
        setPluginsToSerialize skipInference staticPlugins tempdir tempfileControls useRuntime vc versionCompatible
    """,
    "10.0-10.16": "bf16 calibProfile weightless",
    "10.0-": """
        allocationStrategy allowWeightStreaming dumpOptimizationProfile errorOnTimingCacheMiss getPlanVersionOnly
        markDebug noCompilationCache pi pluginInstanceNorm profile saveDebugTensors stripWeights stronglyTyped
        useProfile weightStreamingBudget
    """,
    "10.3-10.16": "int4",
    "10.3-": "runtimePlatform stripAllWeights",
    "10.7-": "asyncFileReader maxTactics monitorMemory",
    "10.13-": """
        distributiveIndependence dumpKernelText l2LimitForTiling markUnfusedTensorsAsDebugTensors
        remoteAutoTuningConfig safetyPlugins saveAllDebugTensors tilingOptimizationLevel
        uint8AsymmetricQuantizationDLA
    """,
    "10.16-": """
        adjustForDLA cpuOnly decomposableAttentions enablePluginOverride refitFromOnnx reportCapabilityDLA
    """,
    "11.0-": "includeDataTransfers noCudaGraph noSpinWait",
    "11.1-": """
        accuracyAlgorithm accuracyThreshold atol continue dryRun helpBuildRoute loadRefOutputs refPair rtol
        saveAllEngines setBuildRoute tuneBuildRouteFile tuneBuildRoutes tuningCacheFile tuningResultFile tuningSearch
        tuningTimeOut
    """,
}
"""Options by the first and the last of VERSIONS that have them; none after the dash: the newest too."""


def options_of(version: str) -> frozenset[str]:
    """The options that trtexec of a TensorRT knows.

    Raises: TargetError for one older than the oldest that was read.

    >>> "--buildOnly" in options_of("8.5.2"), "--buildOnly" in options_of("10.3.0")
    (True, False)
    """
    at = _place(version)
    return frozenset(f"--{word}" for spans, words in _SPANS.items() if _covers(spans, at) for word in words.split())


def check_legal(words: tuple[str, ...], version: str) -> tuple[str, ...]:
    """`words` as they are, if trtexec of that TensorRT knows every option among them. Raises: TargetError.

    >>> check_legal(("trtexec", "--onnx=m.onnx", "--bf16"), "8.6")
    Traceback (most recent call last):
    edgekit.errors.TargetError: trtexec of TensorRT 8.6 has no --bf16
    """
    used = {word.partition("=")[0] for word in words[1:]}
    if unknown := sorted(used - options_of(version)):
        raise TargetError(f"trtexec of TensorRT {version} has no {', '.join(unknown)}")
    return words


def numbers(version: str) -> tuple[int, ...]:
    """A version in numbers, which compare as versions do.

    >>> numbers("10.3.0") < numbers("10.13")
    True
    """
    return tuple(int(part) for part in version.split("."))


def _place(version: str) -> int:
    """The place in VERSIONS of the newest that is no newer."""
    older = [i for i, known in enumerate(VERSIONS) if numbers(known) <= numbers(version)]
    if not older:
        raise TargetError(f"TensorRT {version}: edgekit knows trtexec from {VERSIONS[0]} on")
    return older[-1]


def _covers(spans: str, at: int) -> bool:
    for span in spans.split():
        first, _, last = span.partition("-")
        if VERSIONS.index(first) <= at <= VERSIONS.index(last or VERSIONS[-1]):
            return True
    return False
