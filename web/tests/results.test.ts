import { describe, expect, it } from "vitest";
import type { Point } from "../src/lightmark/geometry";
import type { Face } from "../src/lightmark/landmarker";
import { CLOSED_EYE } from "../src/lightmark/measures";
import { degrees, duration, enlarged, stemOf, toJson, toPts } from "../src/page/results";
import { golden } from "./golden";

const face: Face = { points: [[0, 1]], box: [0, 0, 2, 3], expected_error: [0.5], confidence: 0.9, pose: null };
const schema = { name: "points1", size: 1, mirror: [0], edges: [], groups: {} };

describe("toJson", () => {
  it("has the keys of `lightmark detect --format json`, and openness as with --measures", () => {
    const { points, pose, openness: [left, right, mouth] } = golden.poses[0];
    const shown = { ...face, points: points as unknown as Point[], pose };
    const [read] = JSON.parse(toJson({ file: "a.jpg", width: 4, height: 5, schema, faces: [shown] }));
    const measures = read.faces[0];
    expect(measures.eye_openness.left).toBeCloseTo(left);
    expect(measures.mouth_openness).toBeCloseTo(mouth);
    expect(read).toEqual({
      file: "a.jpg", width: 4, height: 5,
      faces: [{
        schema: "points1", box: [0, 0, 2, 3], points, expected_error: [0.5], confidence: 0.9, pose,
        eye_openness: measures.eye_openness, mouth_openness: measures.mouth_openness,
        eyes_closed: { left: left < CLOSED_EYE, right: right < CLOSED_EYE },
      }],
    });
  });

  it("leaves out what the model does not tell", () => {
    const bare = { ...face, expected_error: null, confidence: null };
    const [read] = JSON.parse(toJson({ file: "a.jpg", width: 4, height: 5, schema, faces: [bare] }));
    expect(Object.keys(read.faces[0])).toEqual(["schema", "box", "points"]);
  });
});

describe("toPts", () => {
  it("counts pixels from 1, as Python writes them", () => {
    expect(toPts([[0, 0]])).toBe("version: 1\nn_points: 1\n{\n1.000000 1.000000\n}\n");
  });
});

describe("enlarged", () => {
  it("keeps the picture's outer edges where they are", () => {
    const [large] = enlarged([{ ...face, points: [[-0.5, 9.5]] }], 3, 2);
    expect(large.points).toEqual([[-0.5, 19.5]]);
    expect(large.expected_error).toEqual([1.5]);
  });
});

describe("words", () => {
  it("tell angles with their sign", () => expect([12.4, -3.6, 0.2].map(degrees)).toEqual(["+12°", "−4°", "0°"]));
  it("tell times as short as they are sure", () => {
    expect([1.26, 43.4, 1234, 12_345].map(duration)).toEqual(["1.3 ms", "43 ms", "1.23 s", "12 s"]);
  });
  it("name files by their pictures", () => expect(["a.b.jpg", ".jpg", "c"].map(stemOf)).toEqual(["a.b", ".jpg", "c"]));
});
