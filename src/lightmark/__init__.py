"""Facial-landmark detection, training and evaluation; the names below are the public API.

>>> from lightmark import Landmarker  # doctest: +SKIP
>>> faces = Landmarker().detect("photo.jpg")  # doctest: +SKIP

Each name is imported when it is first used, so that `import lightmark` loads neither numpy nor torch. What is not
listed here, and not documented as a submodule, may move between releases.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; typing itself would cost a third of the import's time
if TYPE_CHECKING:  # for editors and type checkers; the table below is what runs
    from typing import Any

    from lightmark.data.read import read_samples as read_samples
    from lightmark.data.sample import Sample as Sample
    from lightmark.errors import LightmarkError as LightmarkError
    from lightmark.evaluate.predict import open_model as open_model
    from lightmark.evaluate.predict import predict as predict
    from lightmark.evaluate.run import evaluate_model as evaluate_model
    from lightmark.face import Face as Face
    from lightmark.landmarker import Landmarker as Landmarker
    from lightmark.metrics import interocular as interocular
    from lightmark.metrics import nme as nme
    from lightmark.pose import Pose as Pose
    from lightmark.schema import Schema as Schema
    from lightmark.source import to_picture as to_picture
    from lightmark.spec import ModelSpec as ModelSpec
    from lightmark.video.frames import VideoReader as VideoReader
    from lightmark.video.tracker import Tracker as Tracker

__version__ = "0.1.0"

_MODULES = {
    "Face": "lightmark.face",
    "Landmarker": "lightmark.landmarker",
    "LightmarkError": "lightmark.errors",
    "ModelSpec": "lightmark.spec",
    "Pose": "lightmark.pose",
    "Sample": "lightmark.data.sample",
    "Schema": "lightmark.schema",
    "Tracker": "lightmark.video.tracker",
    "VideoReader": "lightmark.video.frames",
    "evaluate_model": "lightmark.evaluate.run",
    "interocular": "lightmark.metrics",
    "nme": "lightmark.metrics",
    "open_model": "lightmark.evaluate.predict",
    "predict": "lightmark.evaluate.predict",
    "read_samples": "lightmark.data.read",
    "to_picture": "lightmark.source",
}
__all__ = [
    "Face",
    "Landmarker",
    "LightmarkError",
    "ModelSpec",
    "Pose",
    "Sample",
    "Schema",
    "Tracker",
    "VideoReader",
    "__version__",
    "evaluate_model",
    "interocular",
    "nme",
    "open_model",
    "predict",
    "read_samples",
    "to_picture",
]


def __getattr__(name: str) -> Any:
    """The public name `name`, imported now; raises `AttributeError` for any other."""
    if name not in _MODULES:
        raise AttributeError(f"module 'lightmark' has no attribute {name!r}; public names: {', '.join(_MODULES)}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
