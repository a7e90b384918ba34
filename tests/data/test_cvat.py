"""Tests of the CVAT XML reader and writer, on XML 1.1 written field by field as CVAT exports it."""

import cv2
import numpy as np
import pytest

from lightmark.data.convert import convert
from lightmark.data.read import read_samples
from lightmark.data.sample import load_image
from lightmark.errors import DataError, ImageError

META = """<meta><task><id>4</id><name>faces</name><size>2</size><mode>annotation</mode><source>clip.avi</source><labels>
<label><name>face</name><color>#5e7934</color><type>skeleton</type><attributes></attributes>
<svg>&lt;line x1="36" y1="47" x2="86" y2="10" stroke="black" data-type="edge" data-node-from="2" stroke-width="0.5"
data-node-to="3"&gt;&lt;/line&gt;&lt;circle r="1.5" data-type="element node" data-element-id="1" data-node-id="1"
data-label-name="right"&gt;&lt;/circle&gt;&lt;circle r="1.5" data-node-id="2" data-label-name="left"&gt;&lt;/circle&gt;
&lt;circle data-node-id="3" data-label-name="nose"&gt;&lt;/circle&gt;</svg></label>
<label><name>right</name><color>#d12345</color><type>points</type><attributes></attributes><parent>face</parent></label>
<label><name>left</name><type>points</type><attributes></attributes><parent>face</parent></label>
<label><name>nose</name><type>points</type><attributes></attributes><parent>face</parent></label>
</labels></task></meta>"""


def points(label, xy, outside=0, occluded=0, **attributes):
    """One element of points."""
    more = "".join(f' {name}="{value}"' for name, value in attributes.items())
    flags = f'outside="{outside}" occluded="{occluded}"'
    return f'<points label="{label}" source="manual" {flags} points="{xy}"{more}></points>'


def skeleton(*inner, **attributes):
    """One skeleton."""
    more = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<skeleton label="face" source="manual" z_order="0"{more}>{"".join(inner)}</skeleton>'


def write(folder, body, meta=META):
    """annotations.xml with `body`."""
    path = folder / "annotations.xml"
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    path.write_text(f"{head}{meta}{body}</annotations>")
    return path


def image(*shapes):
    """One picture with `shapes`."""
    return f'<image id="0" name="a.jpg" width="100" height="80">{"".join(shapes)}</image>'


def test_skeleton_is_read_field_by_field(tmp_path):
    """Points are in the order of the labels, those outside are missing, the corner of the first pixel is at -0.5."""
    shapes = skeleton(points("left", "0.50,0.50", occluded=1), points("right", "30.50,1.00"), points("nose", "9,9", 1))
    box = '<box label="face" xtl="1" ytl="2" xbr="3" ybr="4" occluded="0" z_order="0"></box>'
    (face,) = read_samples(write(tmp_path, image(box, shapes)))
    assert face.schema.point_names == ("right", "left", "nose")
    assert face.schema.edges == ((1, 2),)
    np.testing.assert_array_equal(face.points, [[30, 0.5], [0, 0], [np.nan, np.nan]])
    assert face.occluded.tolist() == [False, True, False]
    assert (face.schema.name, face.attributes["labelled_size"]) == ("face", (100, 80))


def test_exported_pictures_are_in_images(tmp_path):
    """CVAT's archive has annotations.xml beside images/."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    (face,) = read_samples(write(tmp_path, image(skeleton(points("nose", "1,2")))))
    assert face.path == tmp_path / "images" / "a.jpg"


def test_pictures_of_a_project_are_in_the_folder_of_their_subset(tmp_path):
    """The archive of a project has images/ with a folder for each subset, which the names leave out."""
    (tmp_path / "images" / "Train" / "b").mkdir(parents=True)
    (tmp_path / "images" / "Train" / "b" / "a.jpg").touch()
    picture = '<image id="0" name="b/a.jpg" subset="Train" task_id="7" width="100" height="80">'
    (face,) = read_samples(write(tmp_path, f"{picture}{skeleton(points('nose', '1,2'))}</image>"))
    assert face.path == tmp_path / "images" / "Train" / "b" / "a.jpg"


def test_points_without_a_skeleton_are_read(tmp_path):
    """Single points are faces by their groups, a shape of several points is a face with numbers."""
    single = [points("nose", "1,2", group_id=1), points("left", "3,4", group_id=1), points("nose", "5,6", group_id=2)]
    first, second = read_samples(write(tmp_path, image(*single), meta=""))
    assert (first.points.tolist(), second.schema.point_names) == ([[2.5, 3.5], [0.5, 1.5]], ("left", "nose"))
    (face,) = read_samples(write(tmp_path, image(points("face", "1,2;3,4;5,6")), meta=""))
    assert face.points.tolist() == [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]]


def test_numbered_points_labelled_nowhere_are_kept(tmp_path):
    """The labels say how many points a skeleton has, though its last ones are on no picture."""
    labels = "".join(f"<label><name>{i}</name><type>points</type><parent>face</parent></label>" for i in range(1, 5))
    meta = f"<meta><task><labels><label><name>face</name><type>skeleton</type></label>{labels}</labels></task></meta>"
    (face,) = read_samples(write(tmp_path, image(skeleton(points("2", "3,4"), points("1", "1,2"))), meta))
    np.testing.assert_array_equal(face.points, [[0.5, 1.5], [2.5, 3.5], [np.nan] * 2, [np.nan] * 2])


def write_clip(path, frames=3):
    """A lossless video whose frames are grey of 0, 50, 100 …"""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 50 * number, np.uint8))
    writer.release()


def test_tracks_are_read_with_the_frames_of_the_video(tmp_path):
    """Each frame of a track that is not outside is a face; an empty track is none."""
    write_clip(tmp_path / "clip.avi")
    frames = [skeleton(points("nose", f"{n}.5,2", outside=(n == 1 and 1) or 0), frame=n, keyframe=1) for n in (2, 1, 0)]
    tracks = f'<track id="0" label="face" source="manual">{"".join(frames)}</track><track id="1" label="face"></track>'
    first, second = read_samples(write(tmp_path, tracks))
    assert (first.points[2].tolist(), second.points[2].tolist()) == ([2, 1.5], [0, 1.5])
    assert (first.name, first.photo) == (f"{tmp_path.as_posix()}/clip.avi/000002.png", second.photo)
    assert [int(np.median(load_image(face))) for face in (first, second)] == [100, 0]


def test_images_may_be_frames_of_a_video(tmp_path):
    """A video exported as images: their names have no suffix, the exported pictures have."""
    frame = f'<image id="2" name="frame_000002" width="64" height="48">{skeleton(points("nose", "1,2"))}</image>'
    path = write(tmp_path, frame)
    write_clip(tmp_path / "clip.avi")
    (face,) = read_samples(path)
    assert (int(np.median(load_image(face))), face.attributes["labelled_size"]) == (100, (64, 48))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "frame_000002.PNG").touch()
    assert read_samples(path)[0].path == tmp_path / "images" / "frame_000002.PNG"


def test_tracks_of_a_project_are_read_with_their_own_videos(tmp_path):
    """Frames of tasks in one subset are numbered on, those of another subset from 0 again."""
    tasks = [("4", "a.avi", "Train", "step=2"), ("5", "b.avi", "Train", ""), ("6", "c.avi", "Train", ""),
             ("7", "d.avi", "Test", "")]  # fmt: skip
    meta = "".join(
        f"<task><id>{number}</id><size>2</size><subset>{subset}</subset><start_frame>0</start_frame>"
        f"<frame_filter>{step}</frame_filter><source>{source}</source></task>"
        for number, source, subset, step in tasks
    )
    for _, source, *_ in tasks:
        write_clip(tmp_path / source)
    frames = [("4", "Train", 2), ("5", "Train", 5), ("6", "Train", 6), ("7", "Test", 2)]
    tracks = "".join(
        f'<track id="0" label="face" task_id="{task}" subset="{subset}">'
        f"{skeleton(points('nose', '1,2'), frame=number)}</track>"
        for task, subset, number in frames
    )
    path = write(tmp_path, tracks, meta=f"<meta><project><tasks>{meta}</tasks></project></meta>")
    faces = read_samples(path)
    assert [face.path.parent.name for face in faces] == ["a.avi", "b.avi", "c.avi", "d.avi"]
    assert [int(np.median(load_image(face))) for face in faces] == [100, 50, 0, 100]
    (tmp_path / "images" / "Test").mkdir(parents=True)
    (tmp_path / "images" / "Test" / "frame_000002.PNG").touch()
    names = ["000002.png", "000001.png", "000000.png", "frame_000002.PNG"]
    assert [face.path.name for face in read_samples(path)] == names
    for source in ("b.avi", "c.avi", "d.avi"):
        (tmp_path / source).unlink()
    assert read_samples(path)[1].path.name == "frame_000005.png"  # not a frame of the only video that is there


def test_frame_that_the_video_lacks_is_named(tmp_path):
    """The labels are of another video."""
    write_clip(tmp_path / "clip.avi")
    track = f'<track id="0" label="face">{skeleton(points("nose", "1,2"), frame=7)}</track>'
    with pytest.raises(ImageError, match=r"clip\.avi: no frame 7, counted from 0; the last that can be read is 2"):
        load_image(read_samples(write(tmp_path, track))[0])


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (points("nose", "1,2") + points("nose", "3,4"), "image a.jpg: point 'nose' is there twice"),
        (points("dot", "1,2") * 5, "point 'dot' is there twice; label each point of a face by its own name"),
        (skeleton(points("nose", "1")), "image a.jpg: point 'nose': ValueError: not enough values"),
    ],
)
def test_broken_shape_is_named_or_left_out(tmp_path, shapes, text):
    """The picture and the point are in the sentence."""
    path = write(tmp_path, image(shapes) + image(skeleton(points("nose", "1,2"))))
    with pytest.raises(DataError, match=text):
        read_samples(path)
    assert len(read_samples(path, left_out=[])) == 1


def test_conversion_to_cvat_gives_everything_back(tmp_path):
    """Points, missing points, flags and names survive; a frame of a video becomes a picture."""
    write_clip(tmp_path / "clip.avi")
    shapes = [points("left", "10.50,20.50", occluded=1), points("nose", "30.50,11.00"), points("right", "9,9", 1)]
    source = write(tmp_path, f'<track id="0" label="face">{skeleton(*shapes, frame=1)}</track>')
    assert convert(source, tmp_path / "out" / "a.xml", "cvat") == 1
    (face,), (back,) = read_samples(source), read_samples(tmp_path / "out" / "a.xml")
    np.testing.assert_allclose(back.points, face.points, atol=1e-4)
    np.testing.assert_array_equal(back.occluded, face.occluded)
    assert (back.schema.name, back.schema.point_names) == (face.schema.name, face.schema.point_names)
    np.testing.assert_array_equal(load_image(back), load_image(face))
