"""Tests of the dlib reader, on XML written field by field as imglab saves it."""

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.errors import DataError
from lightmark.schema import IBUG68

HEAD = """<?xml version='1.0' encoding='ISO-8859-1'?>
<?xml-stylesheet type='text/xsl' href='image_metadata_stylesheet.xsl'?>
<dataset>
<name>imglab dataset</name>
<comment>Created by imglab tool.</comment>
<images>
"""


def write(path, *boxes):
    """A data set of one picture with `boxes`."""
    image = f"<image file='faces/a.jpg' width='100' height='80'>{''.join(boxes)}</image>"
    path.write_text(f"{HEAD}{image}\n</images>\n</dataset>")
    return path


def box(*parts, ignore=""):
    """A box with `parts`, name, x and y."""
    inner = "".join(f"<part name='{name}' x='{x}' y='{y}'/>" for name, x, y in parts)
    return f"<box top='5' left='10' width='30' height='40'{ignore}>{inner}</box>"


def test_parts_are_read_in_dlibs_order(tmp_path):
    """dlib orders parts by name and counts pixel centres from 0; a part that a box lacks is missing."""
    path = write(tmp_path / "a.xml", box(("nose", 20, 21), ("eye", 15, 9)), box(("eye", 3, 4)))
    first, second = read_samples(path)
    assert first.schema.point_names == ("eye", "nose")
    assert first.points.tolist() == [[15, 9], [20, 21]]
    np.testing.assert_array_equal(second.points, [[3, 4], [np.nan, np.nan]])
    assert first.attributes == {"index": 0, "rect": (10, 5, 40, 45)}
    assert first.path == tmp_path / "faces" / "a.jpg"


@pytest.mark.parametrize("digits", [1, 2])
def test_numbered_parts_are_the_68_points(tmp_path, digits):
    """labels_ibug_300W.xml calls them 00 to 67; without the zero, 10 still comes after 9."""
    (face,) = read_samples(write(tmp_path / "a.xml", box(*((f"{i:0{digits}}", i, 2 * i) for i in range(68)))))
    assert face.schema is IBUG68
    np.testing.assert_array_equal(face.points, [[i, 2 * i] for i in range(68)])


def test_ignored_boxes_are_passed_over(tmp_path):
    """A box to ignore, and a box without parts, are no faces."""
    path = write(tmp_path / "a.xml", box(("nose", 1, 2), ignore=" ignore='1'"), box(), box(("nose", 3, 4)))
    assert [face.points.tolist() for face in read_samples(path)] == [[[3, 4]]]


def test_broken_box_is_named_or_left_out(tmp_path):
    """The picture and the number of the box are in the sentence."""
    path = write(tmp_path / "a.xml", box(("nose", 3, 4)), box(("nose", "x", 4)))
    with pytest.raises(DataError, match=r"a\.xml: faces/a\.jpg: box 1: ValueError: could not convert .* 'x'"):
        read_samples(path)
    assert len(read_samples(path, left_out=[])) == 1


def test_entities_are_refused(tmp_path):
    """A file that expands to gigabytes stops at its declaration."""
    bomb = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    (tmp_path / "a.xml").write_text(f"{bomb}<dataset><images><image file='&b;'/></images></dataset>")
    with pytest.raises(DataError, match="declares XML entities"):
        read_samples(tmp_path / "a.xml")


def test_other_xml_in_a_folder_is_passed_over(tmp_path, caplog):
    """Pascal VOC's boxes are named by a warning and lose no faces."""
    write(tmp_path / "a.xml", box(("nose", 3, 4)))
    (tmp_path / "b.xml").write_text("<annotation><filename>b.jpg</filename></annotation>")
    assert len(read_samples(tmp_path)) == 1
    assert "b.xml: root element 'annotation'" in caplog.records[0].getMessage()
