"""Fixtures every test may use: the real data, where it is at hand, and a tiny picture."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real faces: LIGHTMARK_DATA, or ../shared/data beside the repository; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LIGHTMARK_DATA", beside))
    if not (folder / "300w").is_dir():
        pytest.skip(f"no real faces in {folder}; set LIGHTMARK_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def open_script() -> Callable[[str], ModuleType]:
    """Function that opens a script of benchmarks/ as a module, by its name without suffix."""

    def opened(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where its dataclasses look for their types
        spec.loader.exec_module(module)
        return module

    return opened


@pytest.fixture
def tiny_picture() -> np.ndarray:
    """RGB uint8 (48, 64, 3) of smooth noise: like no other picture, and it survives JPEG."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)


@pytest.fixture
def write_onnx(tmp_path):
    """Function that writes an ONNX landmark model: a fixed shape (N, 2), moved by `gain` times the mean of its input.

    `metadata` is the text under the key "lightmark", None for a file without; `batch` 1 fixes the batch.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    def write(name: str, shape: np.ndarray, size: int, metadata: str | None, gain: float = 0.0, batch: str | int = "b"):
        constants = {
            "shape": np.asarray(shape, np.float32)[None],
            "gain": np.full((1, 1, 1, 1), gain, np.float32),
            "last": np.array([3]),
        }
        nodes = [
            helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Mul", ["mean", "gain"], ["shift"]),
            helper.make_node("Squeeze", ["shift", "last"], ["shift3"]),
            helper.make_node("Add", ["shape", "shift3"], ["normalized_points"]),
        ]
        graph = helper.make_graph(
            nodes,
            "shape",
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, [batch, 3, size, size])],
            [helper.make_tensor_value_info("normalized_points", TensorProto.FLOAT, [batch, *np.shape(shape)])],
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        if metadata is not None:
            helper.set_model_props(model, {"lightmark": metadata})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(model, path)
        return path

    return write


@pytest.fixture
def film_of():
    """Function that writes a film by PyAV: `images` RGB at `times` in seconds, and a second of a tone if `sound`.

    `matrix` is a display matrix (9,), `aspect` that of a pixel; `codec` encodes the pictures, `sound` names the codec
    of the tone, which starts at 0.
    """
    from fractions import Fraction

    import av

    def write(path, images, times, *, codec="mpeg4", matrix=None, aspect=None, sound=None):
        ticks = 25 if path.suffix == ".avi" else 60_000  # AVI fills the time between frames with empty ones
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec)
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, ticks)
            stream.codec_context.options = {"flags": "+qscale", "global_quality": "236"}
            if matrix is not None:
                stream.set_display_matrix([int(value) for value in matrix])
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if sound is not None:
                track = container.add_stream(sound, rate=48_000, layout="mono")
            for image, seconds in zip(images, times, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = round(seconds * ticks), Fraction(1, ticks)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if sound is not None:
                for packet in tone(track):
                    container.mux(packet)
        return path

    def tone(track):
        form = track.codec_context.format.name
        wave = np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000) * 0.3
        samples = wave.astype(np.float32) if form.startswith("flt") else (wave * 32_767).astype(np.int16)
        for start in range(0, len(samples), 1_000):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1_000], format=form, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
            yield from track.encode(frame)
        yield from track.encode()

    return write
