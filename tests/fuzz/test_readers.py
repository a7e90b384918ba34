"""Fuzzing of readers and server: random changes give a result or a LightmarkError, a response or a refusal.

Each seed is a small whole file made by code. The examples are the same in every run, and few; LIGHTMARK_FUZZ=20000 asks
for as many a reader, at random: `LIGHTMARK_FUZZ=20000 pytest tests/fuzz`.
"""

import io
import json
import os
import socket
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from lightmark.data.formats.coco import coco_document, read_coco
from lightmark.data.formats.cofw import read_cofw
from lightmark.data.formats.cvat import cvat_xml, read_cvat
from lightmark.data.formats.dlib_xml import read_dlib
from lightmark.data.formats.label_studio import read_label_studio
from lightmark.data.formats.labelme import read_labelme
from lightmark.data.formats.numbered_txt import read_numbered
from lightmark.data.formats.pixels_csv import read_pixels_csv
from lightmark.data.formats.pts import format_pts, read_pts
from lightmark.data.formats.via import read_via
from lightmark.data.formats.w300_lp import read_300w_lp_file
from lightmark.data.formats.wflw import read_wflw_list
from lightmark.data.formats.wide_csv import read_csv
from lightmark.data.formats.yolo_pose import read_yolo
from lightmark.data.sample import Sample, load_image
from lightmark.data.shards.read import is_shard, read_shard
from lightmark.errors import LightmarkError
from lightmark.evaluate.predictions import read_predictions
from lightmark.evaluate.report.rows import read_rows
from lightmark.face import Face
from lightmark.runtime.onnx_file import read_onnx
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.schema import plain_schema, read_schema, schema_to_dict
from lightmark.serve.app import build_app
from lightmark.serve.endpoint import Endpoint, Limits
from lightmark.serve.server import open_socket, server_of
from lightmark.serve.workers import Workers
from lightmark.source import to_picture
from lightmark.spec import ModelSpec, spec_from_json, spec_to_json

COUNT = os.environ.get("LIGHTMARK_FUZZ")
fuzz = settings(
    max_examples=int(COUNT or 40),
    derandomize=COUNT is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
POINTS = np.arange(6.0).reshape(3, 2) + 1
ODD = (
    *(b"", b"\0", b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7),
    *(b"nan", b"-1", b"1e999", b"\xd8\x00", b"[" * 3000),
)


@st.composite
def changes(draw):
    """Places of a file as shares of its length, how many bytes are taken out there and which are put in."""
    odd = st.one_of(st.sampled_from(ODD), st.binary(max_size=8))
    return draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 16), odd), min_size=1, max_size=4))


def changed(seed, edits):
    """The bytes `seed` after `edits`."""
    content = bytearray(seed)
    for place, out, put in edits:
        at = int(place * len(content))
        content[at : at + out] = put
    return bytes(content)


def only_ours(read, *arguments):
    """Call `read`; any error but ours fails the test."""
    try:
        return read(*arguments)
    except LightmarkError:
        return None


def picture(kind="PNG", **options):
    """An encoded picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PilImage.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def labelled_faces(tmp_path):
    """Two faces of a picture with all fields of ours."""
    return [
        Sample(tmp_path / "a.png", POINTS + i, np.array([1.0, 2, 5, 6]), plain_schema(3), "a", frozenset({"train"}),
               {"index": i, "yaw": 3.0, "rect": (1, 2, 3, 4)}, np.array([True, False, False]))
        for i in range(2)
    ]  # fmt: skip


def coco(tmp_path):
    """A COCO document of two faces with all fields of ours."""
    return coco_document(labelled_faces(tmp_path), [tmp_path / "a.png"] * 2, [(9, 8)] * 2, tmp_path)


def labelme():
    """A file of labelme with two faces."""
    shapes = [
        {"label": name, "points": [[1.5, 2], [3, 4]][:count], "group_id": group, "shape_type": kind, "flags": {}}
        for name, group, kind, count in (("a", 1, "point", 1), ("b", 2, "point", 1), ("c", 1, "rectangle", 2))
    ]
    return {"version": "5.4.1", "shapes": shapes, "imagePath": "a.png", "imageHeight": 9, "imageWidth": 8}


def via():
    """A project of VIA with a picture and a point."""
    region = {"shape_attributes": {"name": "point", "cx": 1, "cy": 2}, "region_attributes": {"name": "a", "face": "1"}}
    return {"_via_img_metadata": {"a.png12": {"filename": "a.png", "size": 12, "regions": [region]}}}


def label_studio():
    """A task of Label Studio with a point and its parent."""
    point = {"type": "keypointlabels", "id": "p", "original_width": 8, "original_height": 9, "image_rotation": 0,
             "value": {"x": 1, "y": 2, "keypointlabels": ["a"]}}  # fmt: skip
    relation = {"type": "relation", "from_id": "p", "to_id": "b"}
    annotation = {"was_cancelled": False, "ground_truth": False, "result": [point, relation]}
    data = {"image": "/data/local-files/?d=a.png"}
    return [{"id": 1, "data": data, "annotations": [annotation], "file_upload": "a.png"}]


TRACK = (
    b'<annotations><meta><task><source>a.avi</source></task></meta><track id="0" label="f" group_id="1">'
    b'<skeleton frame="0"><points label="a" outside="0" points="1,2"/></skeleton></track></annotations>'
)
DLIB = (
    b"<?xml version='1.0'?><dataset><images><image file='a.png'><box top='1' left='2' width='3' height='4'>"
    b"<part name='a' x='1' y='2'/><part name='b' x='3' y='4'/></box></image></images></dataset>"
)
YOLO = b"0 0.5 0.5 0.5 0.5 0.1 0.2 2 0.3 0.4 1\n0 0.5 0.5 0.5 0.5 0.1 0.2 2 0.3 0.4 1\n"
YAML = "kpt_shape: [2, 3]\nflip_idx: [1, 0]\nnames:\n  0: face\nkpt_names:\n  0:\n    - a\n    - b\n"
PIXELS = b"a_x,a_y,b_x,b_y,Image\n1,2,3,4,1 2 3 4\n,,5,6,1 2 3 255\n"
VIA_CSV = (
    b"filename,region_shape_attributes,region_attributes\n"
    b'a.png,"{""name"":""point"",""cx"":1,""cy"":2}","{""name"":""a""}"\n'
)


def spec():
    """A ModelSpec's JSON value."""
    return json.loads(spec_to_json(ModelSpec(plain_schema(3), 16, confidence=True, provenance={"nme": {"full": 1}})))


def shard_labels():
    """The .json of a packed picture."""
    face = {"points": POINTS.tolist(), "photo": "a", "subsets": ["train"], "attributes": {"yaw": 1, "rect": [1, 2]}}
    schema = {"schema": schema_to_dict(plain_schema(3)), "occluded": [True, False, False]}
    return {"lightmark": 1, "picture": {"crc32": None}, "faces": [face | schema]}


def tar_of(labels):
    """A shard with one picture of `labels`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (("é" * 120 + ".png", picture()), ("é" * 120 + ".json", labels)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def read_whole_shard(path):
    """Faces and pictures of a shard."""
    is_shard(path)
    for sample in read_shard(path, lambda _: None):
        only_ours(load_image, sample)


def write_cofw(path):
    """A COFW file of two faces."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = np.empty((1, 2), dtype=h5py.ref_dtype)
        for i in range(2):
            references[0, i] = file.create_dataset(f"#refs#/{i}", data=np.zeros((3, 4, 5), np.uint8)).ref
        file.create_dataset("IsT", data=references, dtype=h5py.ref_dtype)
        file.create_dataset("phisT", data=np.arange(174.0).reshape(87, 2), compression="gzip")
        file.create_dataset("bboxesT", data=np.ones((4, 2)))


def seeds(tmp_path):
    """Reader, name and bytes of a valid file for each format."""
    wflw = " ".join(["1.5"] * 196 + ["0", "0", "9", "9"] + ["0"] * 6 + ["a/b.jpg"]) + "\n"
    rows = "name,subsets,nme_x,nme_x_inner,nme_x_jaw,size_px,normaliser_px,points\na,test;full,0.1,0.1,0.1,9,9,68\n"
    predictions = {"schema": "points3", "predictions": {"a.jpg": POINTS.tolist(), "b.jpg#0": POINTS.tolist()}}
    label = {"pt2d": np.ones((2, 68)), "Pose_Para": np.ones((1, 7), np.float32), "text": "a"}
    scipy.io.savemat(tmp_path / "seed.mat", label)
    scipy.io.savemat(tmp_path / "packed.mat", label, do_compression=True)
    write_cofw(tmp_path / "cofw.mat")
    (tmp_path / "fuzz").mkdir()
    (tmp_path / "fuzz" / "a.png").write_bytes(picture())
    cvat = cvat_xml(labelled_faces(tmp_path), [tmp_path / "a.png"] * 2, [(9, 8)] * 2, tmp_path)
    return {
        "pts": (read_pts, "a.pts", format_pts(POINTS).encode()),
        "wide csv": (read_csv, "a.csv", b"file,left,top,right,bottom,x0,y0,x1,y1\na.jpg,1,2,3,4,5,6,7,8\n"),
        "csv in turn": (read_csv, "a.csv", b",0,1,2,3\na.jpg,1.5,2,,\nb.jpg,1,2,3,4\n"),
        "wflw": (read_wflw_list, "W/l/list_98pt_rect_attr_test.txt", wflw.encode()),
        "coco": (read_coco, "a.json", json.dumps(coco(tmp_path)).encode()),
        "labelme": (read_labelme, "a.json", json.dumps(labelme()).encode()),
        "via": (read_via, "a.json", json.dumps(via()).encode()),
        "via csv": (read_via, "a.csv", VIA_CSV),
        "label studio": (read_label_studio, "a.json", json.dumps(label_studio()).encode()),
        "cvat": (read_cvat, "a.xml", cvat),
        "cvat track": (read_cvat, "a.xml", TRACK),
        "dlib": (read_dlib, "a.xml", DLIB),
        "yolo": (read_yolo, "a.txt", YOLO),
        "numbered": (read_numbered, "a.txt", b"2\n1 2\n3 4.5\n"),
        "pixels": (read_pixels_csv, "a.csv", PIXELS),
        "schema": (read_schema, "a.json", json.dumps(schema_to_dict(plain_schema(3))).encode()),
        "predictions": (read_predictions, "a.json", json.dumps(predictions).encode()),
        "rows": (read_rows, "faces.csv", rows.encode()),
        "300w-lp": (read_300w_lp_file, "AFW_1_1_0.mat", (tmp_path / "seed.mat").read_bytes()),
        "300w-lp packed": (read_300w_lp_file, "AFW_1_1_0.mat", (tmp_path / "packed.mat").read_bytes()),
        "cofw": (read_cofw, "COFW_test_color.mat", (tmp_path / "cofw.mat").read_bytes()),
        "shard": (read_whole_shard, "a.tar", tar_of(json.dumps(shard_labels()).encode())),
    }


FORMATS = (
    *("pts", "wide csv", "csv in turn", "wflw", "coco", "schema", "predictions", "rows", "300w-lp"),
    *("300w-lp packed", "cofw", "shard", "labelme", "via", "via csv", "label studio", "cvat", "cvat track", "dlib"),
    *("yolo", "numbered", "pixels"),
)


def test_changed_yaml(tmp_path):
    """data.yaml above a label file of YOLO-pose."""
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.txt").write_bytes(YOLO)
    path = tmp_path / "data.yaml"
    path.write_text(YAML)
    assert read_yolo(tmp_path / "a.txt")[0].schema.point_names == ("a", "b")

    @fuzz
    @given(changes())
    def run(edits):
        path.write_bytes(changed(YAML.encode(), edits))
        only_ours(read_yolo, tmp_path / "a.txt")

    run()


@pytest.mark.parametrize("name", FORMATS)
def test_changed_bytes(tmp_path, name):
    """Label files, tables and models with bytes changed, taken out and put in."""
    read, place, seed = seeds(tmp_path)[name]
    path = tmp_path / "fuzz" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(seed)
    assert only_ours(read, path) is not None or name == "shard", "the seed itself is read"

    @fuzz
    @given(changes())
    def run(edits):
        path.write_bytes(changed(seed, edits))
        only_ours(read, path)

    run()


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**31, -(2**63), 10**400]), st.floats(),
    st.sampled_from(["", "a", "\0", "\ud800", "a" * 5000, "nan", "../../x", "/dev/null"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "a"]), inner),
    max_leaves=4,
)


def nodes(value, where=()):
    """The place of every value inside a JSON value."""
    yield where
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from nodes(inner, (*where, key))


def replaced(value, where, new):
    """`value` with `new` at the place `where`."""
    if not where:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[where[0]] = replaced(copied[where[0]], where[1:], new)
    return copied


DOCUMENTS = {
    "coco": lambda tmp_path: (lambda text: read_coco(write(tmp_path / "a.json", text)), coco(tmp_path)),
    "labelme": lambda tmp_path: ((lambda text: read_labelme(write(tmp_path / "a.json", text))), labelme()),
    "via": lambda tmp_path: ((lambda text: read_via(write(tmp_path / "a.json", text))), via()),
    "label studio": lambda tmp_path: (
        (lambda text: read_label_studio(write(tmp_path / "a.json", text))), label_studio()
    ),
    "spec": lambda _: (lambda text: spec_from_json(text, "m.onnx"), spec()),
    "schema": lambda tmp_path: (
        lambda text: read_schema(write(tmp_path / "a.json", text)), schema_to_dict(plain_schema(3))
    ),
    "predictions": lambda tmp_path: (
        lambda text: read_predictions(write(tmp_path / "a.json", text)),
        {"schema": "points3", "predictions": {"a.jpg": POINTS.tolist()}},
    ),
    "shard": lambda tmp_path: (
        lambda text: read_whole_shard(write(tmp_path / "a.tar", tar_of(text.encode("utf-8", "surrogatepass")))),
        shard_labels(),
    ),
}  # fmt: skip


def write(path: Path, content: "str | bytes") -> Path:
    """`path`, with `content` in it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_changed_values(tmp_path, name):
    """Valid JSON with values of another type, size or kind at any place."""
    read, document = DOCUMENTS[name](tmp_path)
    places = list(nodes(document))

    @fuzz
    @given(st.lists(st.tuples(st.sampled_from(places), VALUES), min_size=1, max_size=2))
    def run(edits):
        value = document
        for where, new in edits:
            try:
                value = replaced(value, where, new)
            except (KeyError, IndexError, TypeError, ValueError):  # the place went with the first edit
                continue
        only_ours(read, json.dumps(value))

    run()


def deep(suffix):
    """An encoded picture of 16 bits a channel that uses 12 of them."""
    return cv2.imencode(suffix, np.full((9, 8, 3), 4000, np.uint16))[1].tobytes()


PICTURES = {
    "png": picture,
    "png 16": lambda: deep(".png"),
    "jpeg": lambda: picture("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    "progressive": lambda: picture("JPEG", progressive=True),
    "gif": lambda: picture("GIF"),
    "bmp": lambda: picture("BMP"),
    "tiff": lambda: picture("TIFF", compression="tiff_lzw"),
    "tiff 16": lambda: deep(".tiff"),
    "webp": lambda: picture("WEBP"),
    "ppm": lambda: b"P3 2 2 255\n" + b"1 2 3 " * 4,
    "pgm 16": lambda: b"P5 2 2 65535\n" + bytes(8),
}


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")  # which the command line does not show either
@pytest.mark.parametrize("kind", PICTURES)
def test_changed_pictures(kind):
    """Encoded pictures, as a server gets them from anybody."""
    seed = PICTURES[kind]()
    assert to_picture(seed) is not None

    @fuzz
    @given(changes())
    def run(edits):
        only_ours(to_picture, changed(seed, edits), 10_000)

    run()


def test_changed_onnx(tmp_path, write_onnx):
    """Model files: what `read_onnx` lets through, onnxruntime opens or refuses with an error of ours."""
    seed = write_onnx("m.onnx", POINTS / 10, 16, json.dumps(spec() | {"confidence": False})).read_bytes()
    path = tmp_path / "fuzz.onnx"

    @fuzz
    @given(changes())
    def run(edits):
        content = changed(seed, edits)
        path.write_bytes(content)
        only_ours(read_onnx, path)
        if content.find(b"ReduceMean") > 0:
            only_ours(OnnxModel, path, 1)

    run()


def write_checkpoint(path):
    """A network of three points, and its reader."""
    from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
    from lightmark.nets.network import Architecture, LandmarkNet

    architecture = Architecture("mobilenetv2", "pooling", width=0.05)
    save_checkpoint(path, LandmarkNet(architecture, 3), architecture, ModelSpec(plain_schema(3), 16))
    return load_checkpoint


def write_state(path):
    """The state of a run after one step, and a reader that takes the next step from it."""
    import torch

    from lightmark.train.state import TrainingState, load_state, save_state
    from lightmark.train.step import make_trainee

    def step(trainee):
        trainee.optimiser.zero_grad()
        torch.autograd.backward(trainee.network(torch.ones(1, 3)).square().sum())
        trainee.optimiser.step()

    def read(path):
        trainee = make_trainee(torch.nn.Linear(3, 2), 1e-3, 0.1, "cpu")
        state = load_state(path, {"seed": 0, "faces": {"count": 3}}, trainee)
        state.count({"loss": torch.ones(())})
        state.take_means()
        assert min(state.best, state.seconds) < state.step + 1e300
        step(trainee)
        return state

    trainee = make_trainee(torch.nn.Linear(3, 2), 1e-3, 0.1, "cpu")
    step(trainee)
    state = TrainingState(1, 2.0, 0.5, 1, [{"step": 1, "loss": 0.5}], {"loss": 0.25}, 1)
    save_state(path, {"seed": 0, "faces": {"count": 3}}, trainee, state)
    return read


def unpacked(content):
    """Header of a safetensors file with its metadata's JSON as values, and the bytes of its tensors."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = {key: json.loads(text) for key, text in header["__metadata__"].items()}
    return header, content[end:]


def packed(header, tensors):
    """A safetensors file of what `unpacked` gives."""
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        header = header | {"__metadata__": {key: json.dumps(value) for key, value in metadata.items()}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


@pytest.mark.parametrize("write_seed", [write_checkpoint, write_state])
def test_changed_checkpoints(tmp_path, write_seed):
    """Weights and training states: other values in the header and its metadata, and other bytes in the header."""
    pytest.importorskip("torch")
    path = tmp_path / "a.safetensors"
    read = write_seed(path)
    header, tensors = unpacked(path.read_bytes())
    write(path, packed(header, tensors))
    assert read(path) is not None, "the seed itself is read"
    about = [("__metadata__", *where) for where in nodes(header["__metadata__"])]
    places = st.one_of(st.sampled_from(about), st.sampled_from(list(nodes(header))))
    values = VALUES | st.sampled_from(list(header.values())) | st.sampled_from([2**20, 0.3, True, "timm/resnet18"])

    @fuzz
    @given(st.lists(st.tuples(places, values), max_size=2), changes() | st.just([]))
    def run(replacements, edits):
        value = header
        for where, new in replacements:
            try:
                value = replaced(value, where, new)
            except (KeyError, IndexError, TypeError, ValueError):
                continue
        content = packed(value, tensors) if isinstance(value, dict) else json.dumps(value).encode()
        size = len(content) - len(tensors)
        write(path, changed(content[:size], edits) + content[size:])
        only_ours(read, path)

    run()


@contextmanager
def landmarks_server():
    """Port of a server on this machine whose model sees one face in each picture."""
    seen = Face(POINTS, np.array([0.0, 0, 3, 3]), plain_schema(3), confidence=0.9)
    model = SimpleNamespace(spec=SimpleNamespace(confidence=True), detect=lambda picture: [seen])
    app = build_app({}, Endpoint(model, Workers(2, 4), Limits(4000, 10_000, 20.0)), "http://127.0.0.1/")
    listening = open_socket("127.0.0.1", 0)
    server = server_of(app, 1)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def answer_to(port, request, patience=20.0):
    """What the server sends for these bytes until it or, after `patience` seconds of silence, this side is done."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(patience)
            while received := connection.recv(65536):
                answer += received
        except (ConnectionError, TimeoutError):  # refused at the first bytes; or it waits for more
            pass
    return answer


def requests():
    """Requests with a picture: its size announced, and in chunks."""
    line = b"POST /v1/landmarks?min_confidence=0.5 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    kind, body = b"Content-Type: image/png\r\n", picture()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:40], body[40:], b""))
    return {
        "announced": line + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunked": line + kind + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
    }


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("kind", requests())
def test_changed_requests(kind):
    """Requests with head and body changed: answered or refused, never by an error of the server's own, which lives."""
    seed = requests()[kind]
    with landmarks_server() as port:
        assert b'"points"' in answer_to(port, seed)

        @fuzz
        @given(changes())
        def run(edits):
            answer = answer_to(port, changed(seed, edits), patience=0.1)
            codes = (b"200", b"400", b"404", b"405", b"408", b"413", b"415", b"421", b"422")
            assert not answer or answer[9:12] in codes

        run()
        assert b"200 OK" in answer_to(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
