import { describe, expect, it } from "vitest";
import { findFaces } from "../src/lightmark/detection";
import type { Box } from "../src/lightmark/geometry";
import type { Face } from "../src/lightmark/landmarker";

const picture = { width: 9, height: 9, data: new Uint8Array(324) };

/** A detector that is sure of its first box only, and a model that gives `scores`. */
async function found(scores: readonly (number | null)[]): Promise<(number | null)[]> {
  const detector = { propose: async () => scores.map((_, index) => ({ box: [index, 0, 9, 9] as Box, sure: index === 0 })) };
  const landmarker = {
    landmarks: async (_: unknown, boxes: readonly Box[]) =>
      boxes.map((box): Face => ({ points: [], box, expected_error: null, confidence: scores[box[0]], pose: null })),
  };
  return (await findFaces(picture, detector, landmarker)).map((face) => face.box[0]);
}

describe("findFaces", () => {
  it("keeps what the detector is sure of, and of the rest that in which the model sees a face", async () => {
    expect(await found([0.1, 0.5, 0.49, 0.9])).toEqual([0, 1, 3]);
  });

  it("keeps only what the detector is sure of where the model gives no scores", async () => {
    expect(await found([null, null])).toEqual([0]);
  });
});
