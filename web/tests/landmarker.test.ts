import { beforeEach, describe, expect, it } from "vitest";
import { similarityMatrix, tightBox, transform, type Box, type Matrix, type Point } from "../src/lightmark/geometry";
import { Landmarker } from "../src/lightmark/landmarker";
import { faceRoll } from "../src/lightmark/roll";
import type { Session } from "../src/lightmark/runtime";
import type { ModelSpec } from "../src/lightmark/spec";

const [SIZE, REACH] = [32, 40];
const EYES: readonly Point[] = [[-8, -6], [8, -6]];
const MOUTH: Point = [0, 9];
/** 68 points: a ring around the face, the eyes and the mouth. */
const SHAPE = Array.from({ length: 68 }, (_, index): Point => {
  if (index >= 36 && index < 42) return EYES[0];
  if (index >= 42 && index < 48) return EYES[1];
  if (index >= 48) return MOUTH;
  const angle = (index * 2 * Math.PI) / 36;
  return [16 * Math.sin(angle), 16 * Math.cos(angle)];
});

const spec: ModelSpec = {
  schema: { name: "ibug68", size: 68, mirror: Array.from({ length: 68 }, (_, index) => index), edges: [], groups: {} },
  size: SIZE, cropScale: 1.25, template: null, boxMap: null, mean: [0, 0, 0], std: [1, 1, 1], confidence: true, provenance: {},
};

let crops: number[] = [];

/** A model that sees a disc with a white mark above its middle; it is sure of it up to 50° off upright. */
function session(confident: boolean): Session {
  return {
    metadata: new Map(),
    input: { name: "crops", type: "uint8", batch: null },
    run: async (_type, data, dims) => {
      crops.push(dims[0]);
      const answers = Array.from({ length: dims[0] }, (_, crop) => look(data as Uint8Array, crop));
      const points = answers.flatMap(({ matrix }) => SHAPE.flatMap((point) => transform(matrix, point).map((v) => (v + 0.5) / SIZE)));
      const confidence = answers.map(({ roll }) => (Math.abs(roll) < 50 && !confident ? 1 : 0));
      return [
        { data: Float32Array.from(points), dims: [dims[0], 68, 2] },
        { data: new Float32Array(dims[0] * 68).fill(0.01), dims: [dims[0], 68] },
        { data: Float32Array.from(confidence), dims: [dims[0]] },
      ];
    },
    release: async () => undefined,
  };
}

function look(data: Uint8Array, crop: number): { roll: number; matrix: Matrix } {
  let [weight, x, y] = [0, 0, 0];
  for (let pixel = 0; pixel < SIZE * SIZE; pixel++) {
    const bright = Math.max(0, data[(crop * SIZE * SIZE + pixel) * 3] - 100);
    weight += bright;
    x += bright * ((pixel % SIZE) - (SIZE - 1) / 2);
    y += bright * (Math.floor(pixel / SIZE) - (SIZE - 1) / 2);
  }
  const roll = weight ? (Math.atan2(-x, -y) * 180) / Math.PI : 0;
  const middle: Point = [(SIZE - 1) / 2, (SIZE - 1) / 2];
  return { roll, matrix: similarityMatrix([0, 0], middle, SIZE / 1.25 / 32, roll) };
}

/** A grey picture with the mark at `roll` degrees, counter-clockwise from above. */
function faceAt(roll: number): { width: number; height: number; data: Uint8Array } {
  const side = 2 * REACH + 1;
  const data = new Uint8Array(side * side * 4).fill(80);
  const [mx, my] = transform(similarityMatrix([0, 0], [REACH, REACH], 1, roll), [0, -10]);
  for (let pixel = 0; pixel < side * side; pixel++) {
    const near = Math.hypot((pixel % side) - mx, Math.floor(pixel / side) - my) < 3;
    if (near) data.fill(255, pixel * 4, pixel * 4 + 4);
  }
  return { width: side, height: side, data };
}

const truth = (roll: number): Point[] => SHAPE.map((point) => transform(similarityMatrix([0, 0], [REACH, REACH], 1, roll), point));
const box: Box = tightBox(truth(0));

beforeEach(() => {
  crops = [];
});

describe("Landmarker", () => {
  it.each([0, 20, -30, 45, 75, 90, -110, 135, 180])("finds a face that is rolled by %d degrees", async (roll) => {
    const [face] = await new Landmarker(session(false), spec, "m").landmarks(faceAt(roll), [box]);
    const wanted = truth(roll);
    face.points.forEach(([x, y], index) => expect(Math.hypot(x - wanted[index][0], y - wanted[index][1])).toBeLessThan(1.5));
    expect(face.confidence).toBe(1);
    expect(face.box).toBe(box);
    const total = crops.reduce((sum, count) => sum + count, 0);
    expect(total).toBe(Math.abs(roll) <= 25 ? 1 : Math.abs(roll) < 50 ? 2 : 5);
  });

  it("takes one crop of a face whose angle is known", async () => {
    const landmarker = new Landmarker(session(false), spec, "m");
    const [face] = await landmarker.landmarks(faceAt(150), [box], [150]);
    expect(crops).toEqual([1]);
    expect(faceRoll(spec, face.points)).toBeCloseTo(150, 0);
    const { box: next, roll } = landmarker.placeOf(face);
    expect(roll).toBeCloseTo(150, 0);
    next.forEach((value, index) => expect(value).toBeCloseTo(box[index], -0.3));
  });

  it("cuts a rolled face again by its own points where its angle was a guess", async () => {
    const landmarker = new Landmarker(session(false), spec, "m");
    const [guess, upright] = [{ box, roll: 140 }, { box, roll: 20 }];
    const [face] = await landmarker.confirm(faceAt(150), [guess]);
    expect(Math.abs(faceRoll(spec, face.points) - 150)).toBeLessThan(1);
    await landmarker.confirm(faceAt(15), [upright]);
    expect(crops).toEqual([1, 1, 1]);
  });

  it("keeps the first answer where the model sees a face in no direction", async () => {
    const landmarker = new Landmarker(session(true), spec, "m");
    const [face] = await landmarker.landmarks(faceAt(90), [box]);
    const [first] = await landmarker.landmarks(faceAt(90), [box], [0]);
    expect(face).toEqual(first);
    expect(face.confidence).toBe(0);
  });

  it("holds the roll of a crop until the face leaves it, around the whole circle", () => {
    const landmarker = new Landmarker(session(false), spec, "m");
    const rollAt = (roll: number, held: number): number =>
      landmarker.placeOf({ points: truth(roll), box, expected_error: null, confidence: 1, pose: null }, held).roll;
    expect(rollAt(20, 0)).toBe(0);
    expect(rollAt(-170, 175)).toBe(175);
    expect(rollAt(-150, 175)).toBeCloseTo(-150);
    expect(rollAt(3, 29)).toBe(0);
  });
});
