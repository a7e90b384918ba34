import { describe, expect, it } from "vitest";
import { findFaces, guessesOf } from "../src/lightmark/detection";
import type { Box } from "../src/lightmark/geometry";
import type { Face, Place } from "../src/lightmark/landmarker";

const picture = { width: 9, height: 9, data: new Uint8Array(324) };

/** A detector that is sure of its first box only, and a model that gives `scores`. */
async function found(scores: readonly (number | null)[]): Promise<(number | null)[]> {
  const detector = { propose: async () => scores.map((_, index) => ({ box: [index, 0, 9, 9] as Box, sure: index === 0, roll: null })) };
  const landmarker = {
    confirm: async (_: unknown, guesses: readonly Place[]) =>
      guesses.map(({ box }): Face => ({ points: [], box, expected_error: null, confidence: scores[box[0]], pose: null })),
  };
  return (await findFaces(picture, detector, landmarker)).map((face) => face.box[0]);
}

describe("findFaces", () => {
  it("keeps what the detector is sure of, and of the rest that in which the model sees a face", async () => {
    expect(await found([0.1, 0.98, 0.97, 1])).toEqual([0, 1, 3]);
    expect(await found([0.09, 0.98, 0.97])).toEqual([1]);
  });

  it("searches again where the model denies all that the detector is sure of", async () => {
    const asked: (readonly Box[])[] = [];
    const detector = {
      propose: async (_: unknown, denied: readonly Box[] = []) => {
        asked.push(denied);
        const x = denied.length ? 5 : 0;
        return [{ box: [x, 0, 9, 9] as Box, sure: !denied.length, roll: null }];
      },
    };
    const landmarker = {
      confirm: async (_: unknown, guesses: readonly Place[]) =>
        guesses.map(({ box }): Face => ({ points: [[box[0], 0], [9, 9]], box, expected_error: null, confidence: box[0] ? 0.985 : 0.05, pose: null })),
    };
    expect((await findFaces(picture, detector, landmarker)).map(({ box }) => box[0])).toEqual([5]);
    expect(asked).toEqual([[], [[0, 0, 9, 9]]]);
  });

  it("keeps only what the detector is sure of where the model gives no scores", async () => {
    expect(await found([null, null])).toEqual([0]);
  });
});

describe("proposals where nothing is sure", () => {
  it("give the more confident one of one face, and need a confidence of 0.98", async () => {
    const boxes: Box[] = [[0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40], [60, 60, 70, 70]];
    const detector = { propose: async () => boxes.map((box) => ({ box, sure: false, roll: null })) };
    const landmarker = {
      confirm: async (_: unknown, guesses: readonly Place[]) =>
        guesses.map(({ box: [x0, y0, x1, y1] }, index): Face => ({
          points: [[x0, y0], [x1, y1]], box: [x0, y0, x1, y1], expected_error: null, confidence: [0.99, 0.995, 0.98, 0.97][index], pose: null,
        })),
    };
    expect((await findFaces(picture, detector, landmarker)).map((face) => face.confidence)).toEqual([0.995, 0.98]);
  });
});

describe("guessesOf", () => {
  const box: Box = [0, 0, 9, 9];

  it("begins at the roll that the detector sees, upright where it sees none", () => {
    const guesses = guessesOf([{ box, sure: true, roll: 120 }, { box, sure: true, roll: null }]);
    expect(guesses.map(({ roll }) => roll)).toEqual([120, 0]);
  });
});
