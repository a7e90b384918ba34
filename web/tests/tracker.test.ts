import { beforeEach, describe, expect, it } from "vitest";
import { tightBox, type Box, type Point } from "../src/lightmark/geometry";
import type { Face, Place } from "../src/lightmark/landmarker";
import { heldRoll } from "../src/lightmark/roll";
import { Tracker } from "../src/lightmark/tracker";

const picture = { width: 200, height: 200, data: new Uint8Array(4) };

/** A world with faces in boxes: a model sees what overlaps the box that it is asked about. */
let world: Box[] = [];
let looks = 0;

const corners = ([x0, y0, x1, y1]: Box): Point[] => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
const meets = (a: Box, b: Box): boolean => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

const detector = {
  propose: async () => {
    looks += 1;
    return world.map((box) => ({ box, sure: true, roll: null }));
  },
};
let asked: (number | null)[] = [];
let roll = 0; // of every face
const landmarker = {
  placeOf: ({ points }: Face, held = 0) => ({ box: tightBox(points), roll: heldRoll(held, roll) }),
  landmarks: async (_: unknown, boxes: readonly Box[], angles: readonly (number | null)[] = []) =>
    boxes.map((box, index): Face => {
      asked.push(angles[index] ?? null);
      const face = world.find((one) => meets(one, box));
      return { points: corners(face ?? box), box, expected_error: null, confidence: face ? 1 : 0, pose: null };
    }),
  confirm: (_: unknown, guesses: readonly Place[]) => landmarker.landmarks(_, guesses.map(({ box }) => box)),
};

beforeEach(() => {
  world = [];
  looks = 0;
  asked = [];
  roll = 0;
});

describe("Tracker", () => {
  it("follows a face that moves under one id, without asking the detector again", async () => {
    const tracker = new Tracker(detector, landmarker);
    const ids = [];
    for (let frame = 0; frame < 8; frame++) {
      world = [[10 + frame, 10, 60 + frame, 60]];
      ids.push(...(await tracker.update(picture, frame / 30)).map((face) => face.id));
    }
    expect(ids).toEqual(new Array(8).fill(0));
    expect(looks).toBe(1);
  });

  it("turns a face's crop with it, around the whole circle, and not for an upright one", async () => {
    const tracker = new Tracker(detector, landmarker);
    const rolls = [0, 20, 40, 60, 80, 170, -170, -150, -20, 0];
    for (const [frame, next] of rolls.entries()) {
      roll = next;
      world = [[10, 10, 60, 60]];
      expect((await tracker.update(picture, frame / 30)).map((face) => face.id)).toEqual([0]);
    }
    // The detector's box, then that of its own points, then each frame the roll that the one before left.
    expect(asked.slice(0, 11)).toEqual([null, 0, 0, 0, 40, 40, 80, 170, 170, -150, 0]);
  });

  it("asks the detector in every frame while there is nobody", async () => {
    const tracker = new Tracker(detector, landmarker);
    for (let frame = 0; frame < 3; frame++) expect(await tracker.update(picture, frame / 30)).toEqual([]);
    expect(looks).toBe(3);
  });

  it("keeps the id of a face that was away for a moment, not for long", async () => {
    const tracker = new Tracker(detector, landmarker);
    const seen = async (boxes: Box[], seconds: number): Promise<number[]> => {
      world = boxes;
      return (await tracker.update(picture, seconds)).map((face) => face.id);
    };
    const box: Box = [10, 10, 60, 60];
    expect(await seen([box], 0)).toEqual([0]);
    expect(await seen([], 0.1)).toEqual([]);
    expect(await seen([box], 0.2)).toEqual([0]);
    expect(await seen([], 0.3)).toEqual([]);
    expect(await seen([], 1.0)).toEqual([]);
    expect(await seen([box], 1.1)).toEqual([1]);
  });

  it("takes up a second face when the detector next looks", async () => {
    const tracker = new Tracker(detector, landmarker);
    world = [[10, 10, 60, 60]];
    await tracker.update(picture, 0);
    world = [[10, 10, 60, 60], [110, 110, 160, 160]];
    let ids: number[] = [];
    for (let frame = 1; frame <= 10; frame++) ids = (await tracker.update(picture, frame / 30)).map((face) => face.id);
    expect(ids).toEqual([0, 1]);
  });

  it("lets go of a face that leaves the picture", async () => {
    const tracker = new Tracker(detector, landmarker);
    world = [[140, 10, 190, 60]];
    await tracker.update(picture, 0);
    world = [[180, 10, 230, 60]];
    expect(await tracker.update(picture, 0.03)).toEqual([]);
  });
});
