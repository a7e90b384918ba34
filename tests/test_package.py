"""The wheel as it would be published: what is in it, and under which licences."""

import json
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPRESSION = "Apache-2.0 AND BSD-3-Clause AND MIT AND MPL-2.0 AND LicenseRef-Lightmark-Weights"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout without network."""
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds it; it is in the extra dev")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout to build from")
    (path,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")))
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel):
    """Its METADATA."""
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def licence_text(wheel, name):
    (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/licenses/{name}")]
    return wheel.read(path).decode()


def test_the_licence_covers_the_weights_and_what_is_bundled(wheel, metadata):
    """PEP 639: one expression, and every text that it or its parts ask for."""
    assert metadata["License-Expression"] == EXPRESSION
    assert "Apache License" in licence_text(wheel, "LICENSE")
    weights = licence_text(wheel, "licences/LicenseRef-Lightmark-Weights.txt")
    assert "for research that is not commercial" in weights
    assert "MIT License" in licence_text(wheel, "licences/onnxruntime-LICENSE.txt")
    assert "Rich Felker" in licence_text(wheel, "licences/musl-COPYRIGHT.txt")
    assert set(metadata.get_all("License-File")) >= {"LICENSE", "licences/LicenseRef-Lightmark-Weights.txt"}


@pytest.mark.parametrize(
    "part",
    ["onnx", "protocolbuffers/protobuf", "Eigen", "google/flatbuffers", "abseil-cpp", "nlohmann/json", "google/re2",
     "emsdk", "dawn", "google/XNNPACK", "dcleblanc/SafeInt", "The LLVM Compiler Infrastructure"],
)  # fmt: skip
def test_the_notices_name_what_is_compiled_in(wheel, part):
    """Those parts whose names the WebAssembly has, and what links it."""
    lines = licence_text(wheel, "licences/onnxruntime-ThirdPartyNotices.txt").splitlines()
    assert part in [line.strip() for line in lines]


def test_the_notices_are_of_the_bundled_version(wheel):
    """The page's onnxruntime-web and the text beside the notices name one version."""
    locked = json.loads((ROOT / "web" / "package-lock.json").read_text(encoding="utf-8"))
    version = locked["packages"]["node_modules/onnxruntime-web"]["version"]
    assert f"onnxruntime-web {version}" in licence_text(wheel, "licences/README.md")
    assert f"ONNX Runtime Web v{version}".encode() in wheel.read("lightmark/page/ort/ort.wasm.min.mjs")


def test_every_model_has_its_licence(wheel):
    """The registries of models state "research use only", as the licence file does."""
    for name in ("models.json", "detectors.json"):
        entries = json.loads(wheel.read(f"lightmark/models/{name}"))
        assert entries
        for entry in entries.values():
            assert entry["licence"].startswith("research use only")
            assert f"lightmark/models/{entry['file']}" in wheel.namelist()


def test_nothing_foreign_is_in_the_wheel(wheel):
    """The package and what describes it, no tests, data or caches."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lightmark"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or name.endswith(".pyc")]
    assert "lightmark/py.typed" in wheel.namelist()


def test_bounds_that_security_asks_for_are_kept(metadata):
    """onnxruntime that stays in the model's folder; h11 and starlette without their known faults."""
    asked = {line.replace(" ", "") for line in metadata.get_all("Requires-Dist")}
    assert "onnxruntime>=1.24.1" in asked
    assert {line.partition(";")[0] for line in asked} >= {"h11>=0.16", "starlette>=0.49.1"}
