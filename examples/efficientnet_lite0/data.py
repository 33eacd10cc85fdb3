"""Crops of photographs from named packages, as the net wants them: (n, 3, 224, 224) of float32 from -1 to 1.

Each photograph belongs to one split, so no crop of a tested photograph has calibrated anything. A crop is a square of
40 to 100 % of the photograph's shorter side, placed at random with a fixed seed. What is compared is not truth but the
float net: labels are (n, 2), its class and the probability it gives it. The photographs stay in their packages; the
environment variable PHOTOGRAPHS names another folder in place of /usr/share, say one that `dpkg -x` has filled.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np
import torch
from model import net

SIZE = 224

# Package, how it is installed, the folder of its photographs.
PACKAGES = {
    "scikit-image": ("pip install scikit-image", "skimage/data"),
    "scikit-learn": ("pip install scikit-learn", "sklearn/datasets/images"),
    "palapeli-data": ("apt-get install palapeli-data", "palapeli/collection"),
    "mate-backgrounds": ("apt-get install mate-backgrounds", "backgrounds/mate/nature"),
    "opencv-doc": ("apt-get install opencv-doc", "doc/opencv-doc/examples"),
    "lomiri-wallpapers-16.04": ("apt-get install lomiri-wallpapers-16.04", "backgrounds"),
}

# Split, crops of each photograph, and its photographs by package. README.md has their licences.
SPLITS: dict[str, tuple[int, dict[str, tuple[str, ...]]]] = {
    "calibration": (
        24,
        {
            "scikit-image": (
                "coins.png",
                "rocket.jpg",
            ),
            "palapeli-data": (
                "cincinnati-bridge.jpg",
                "panther-chameleon-female.jpg",
            ),
            "mate-backgrounds": (
                "Garden.jpg",
                "Storm.jpg",
                "TwoWings.jpg",
                "YellowFlower.jpg",
            ),
            "lomiri-wallpapers-16.04": (
                "Dragonfly_by_Bolly.jpg",
                "Picture_0B_by_freespace.jpg",
                "aitzgorri_by_Aitzol_Berasategi.jpg",
                "life_by_Aitzol_Berasategi.jpg",
                "picosdeeuropa_by_Aitzol_Berasategi.jpg",
                "seeding_by_Clements_Engelhardt.jpg",
            ),
        },
    ),
    "validation": (
        40,
        {
            "scikit-image": (
                "astronaut.png",
                "camera.png",
                "chelsea.png",
                "coffee.png",
            ),
            "scikit-learn": (
                "china.jpg",
                "flower.jpg",
            ),
            "palapeli-data": (
                "castle-maintenon.jpg",
                "citrus-fruits.jpg",
                "european-honey-bee.jpg",
            ),
            "mate-backgrounds": (
                "Aqua.jpg",
                "Blinds.jpg",
                "Dune.jpg",
                "FreshFlower.jpg",
                "GreenMeadow.jpg",
                "LadyBird.jpg",
                "RainDrops.jpg",
                "Wood.jpg",
            ),
            "lomiri-wallpapers-16.04": (
                "Bridge_by_Sander_Klootwijk.jpg",
                "Picture_1A_by_freespace.jpg",
                "Wine_by_Jakkub_Mede.jpg",
                "free_by_Peter_Nerlich.jpg",
                "friends_by_Aitzol_Berasategi.jpg",
                "greentock_by_Peter_Nerlich.jpg",
                "sunset_by_Aitzol_Berasategi.jpg",
            ),
        },
    ),
    "test": (
        80,
        {
            "opencv-doc": (
                "alphamat/input_images/plant.jpg",
                "data/aero1.jpg",
                "data/aloeL.jpg",
                "data/apple.jpg",
                "data/baboon.jpg",
                "data/basketball1.png",
                "data/board.jpg",
                "data/box_in_scene.png",
                "data/building.jpg",
                "data/butterfly.jpg",
                "data/chicky_512.png",
                "data/ela_original.jpg",
                "data/fruits.jpg",
                "data/graf1.png",
                "data/home.jpg",
                "data/left.jpg",
                "data/leuvenA.jpg",
                "data/licenseplate_motion.jpg",
                "data/messi5.jpg",
                "data/orange.jpg",
                "data/rubberwhale1.png",
                "data/squirrel_cls.jpg",
                "data/stuff.jpg",
                "hfs/data/000.jpg",
                "text/scenetext01.jpg",
                "text/scenetext02.jpg",
                "text/scenetext03.jpg",
                "text/scenetext04.jpg",
                "text/scenetext05.jpg",
                "text/scenetext06.jpg",
            )
        },
    ),
}


def calibration() -> np.ndarray:
    """336 crops of 14 photographs, for what the float net does there."""
    return crops("calibration")


def validation() -> tuple[np.ndarray, np.ndarray]:
    """960 crops of 24 other photographs: what a search may see."""
    images = crops("validation")
    return images, float_answers(images)


def test() -> tuple[np.ndarray, np.ndarray]:
    """2,400 crops of 30 photographs of a package that the others do not come from, for one look at the end."""
    images = crops("test")
    return images, float_answers(images)


def photographs(split: str) -> tuple[Path, ...]:
    """Where the photographs of a split are.

    Raises: FileNotFoundError with the command that installs what is missing.
    """
    found = []
    for package, names in SPLITS[split][1].items():
        command, _ = PACKAGES[package]
        for name in names:
            file = _folder(package) / name
            if not file.is_file():
                raise FileNotFoundError(f"{file} is missing: run `{command}`")
            found.append(file)
    return tuple(found)


def crops(split: str) -> np.ndarray:
    """The crops of a split, photograph by photograph."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("photographs are read with Pillow: run `pip install pillow`") from None
    count, _ = SPLITS[split]
    files = photographs(split)
    out = np.empty((len(files) * count, 3, SIZE, SIZE), np.float32)
    random = np.random.default_rng(0)
    for index, file in enumerate(files):
        with Image.open(file) as photograph:
            photograph.draft("RGB", (600, 600))
            colours = photograph.convert("RGB")
        for place in range(index * count, (index + 1) * count):
            side = min(colours.size) * random.uniform(0.4, 1.0)
            left, top = (random.uniform(0, length - side) for length in colours.size)
            box = (left, top, left + side, top + side)
            pixels = np.asarray(colours.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box), np.float32)
            out[place] = (pixels.transpose(2, 0, 1) - 127) / 128
    return out


@torch.no_grad()
def float_answers(images: np.ndarray) -> np.ndarray:
    """(n, 2): the float net's class for each image, and the probability that it gives it."""
    model = net()
    best = [model(batch).softmax(1).max(1) for batch in torch.from_numpy(images).split(16)]
    return np.concatenate([np.stack([found.indices, found.values], 1) for found in best]).astype(np.float32)


def _folder(package: str) -> Path:
    """The folder of a package's photographs, whether or not it is installed."""
    command, folder = PACKAGES[package]
    if command.startswith("apt-get"):
        return Path(os.environ.get("PHOTOGRAPHS", "/usr/share")) / folder
    top, _, rest = folder.partition("/")
    spec = importlib.util.find_spec(top)
    return (Path(spec.origin).parent if spec and spec.origin else Path(top)) / rest
