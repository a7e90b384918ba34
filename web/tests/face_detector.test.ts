import { describe, expect, it } from "vitest";
import { blend, FaceDetector, findsOf, finerInput, fitWhole } from "../src/lightmark/face_detector";
import type { Session } from "../src/lightmark/runtime";
import { furthest, golden } from "./golden";

describe("fitWhole", () => {
  it.each(golden.fits)("brings $picture to Python's $network", ({ picture, matrix, network }) => {
    const fit = fitWhole(picture[0], picture[1], 256, 32);
    expect([fit.width, fit.height]).toEqual(network);
    expect(furthest(fit.matrix, matrix)).toBeLessThan(1e-12);
  });
});

describe("blend", () => {
  it("gives the faces that Python gives, surest first, with their rolls", () => {
    const { boxes, scores, keypoints, least, kept, certain, rolls } = golden.choices;
    const finds = blend(findsOf(boxes, scores, keypoints, least));
    expect(furthest(finds.map((find) => find.roll), rolls)).toBeLessThan(1e-9);
    expect(furthest(finds.map((find) => find.box), kept)).toBeLessThan(1e-9);
    expect(furthest(finds.map((find) => find.score), certain)).toBeLessThan(1e-9);
  });

  it("keeps nothing where nothing is sure enough", () => {
    expect(findsOf([0, 0, 1, 1], [0.2], [], 0.3)).toEqual([]);
  });
});

describe("finerInput", () => {
  it.each(golden.finer_inputs)("searches $picture for faces from $min_face on as Python does", (one) => {
    expect(finerInput(one.picture[0], one.picture[1], one.min_face, one.side)).toEqual(one.finer);
  });

  it("refuses what is no size", () => {
    for (const size of [0, -1, NaN, Infinity]) expect(() => finerInput(640, 480, size, 0)).toThrow("pixels, or a share");
  });
});

const PICTURE = { width: 512, height: 512, data: new Uint8Array(512 * 512 * 4) };
const UPRIGHT = [-4, -4, 4, -4, 0, 0, -3, 4, 3, 4];

interface Cells {
  readonly boxes: number[];
  readonly scores: number[];
  readonly keypoints?: number[];
}

/** A detector whose network is shown one input after the other, the last `answers` again and again. */
function seeing(answers: Cells[], { threshold }: { threshold: number }): FaceDetector {
  const asked = [...answers];
  const session = {
    run: async (_: unknown, __: unknown, [batch]: number[]) => {
      const shown = Array.from({ length: batch }, () => (asked.length > 1 ? asked.shift()! : asked[0]));
      const most = Math.max(...shown.map(({ scores }) => scores.length));
      const cells = (of: (one: Cells) => number[], each: number): { data: Float32Array; dims: number[] } => ({
        data: Float32Array.from(shown.flatMap((one) => [...of(one), ...new Array(most * each).fill(0)].slice(0, most * each))),
        dims: [],
      });
      const points = ({ scores, keypoints }: Cells): number[] => keypoints ?? scores.flatMap(() => UPRIGHT);
      return [cells(({ boxes }) => boxes, 4), cells(({ scores }) => scores, 1), cells(points, 10)];
    },
  } as unknown as Session;
  return new FaceDetector(session, { threshold, possible: 0.25, multiple: 32 }, 0.5);
}

describe("FaceDetector", () => {
  it("gives boxes in the picture's pixels, the largest first", async () => {
    const cells = [0, 0, 10, 10, 100, 100, 140, 140, 50, 50, 60, 60, 20, 90, 50, 95];
    const detector = seeing([{ boxes: cells, scores: [0.9, 0.8, 0.67, 0.2] }], { threshold: 0.6 });
    const found = [[200.5, 200.5, 280.5, 280.5], [0.5, 0.5, 20.5, 20.5], [100.5, 100.5, 120.5, 120.5]];
    expect(await detector.detect(PICTURE)).toEqual(found);
    expect((await detector.propose(PICTURE, [[199, 199, 281, 281]])).map(({ box }) => box)).toEqual(found.slice(1));
  });

  it("looks again at what is not sure, upright", async () => {
    const sideways = [[-4, 4], [-4, -4], [0, 0], [4, 3], [4, -3]].flat(); // eyes one above the other: rolled by 90°
    const middle = 63.5;
    const cells = [20, 20, 60, 60, 120, 120, 160, 152, 200, 20, 210, 30, 40, 20, 80, 60];
    const searched = { boxes: cells, scores: [0.75, 0.6, 0.5, 0.65], keypoints: [...UPRIGHT, ...sideways, ...UPRIGHT, ...UPRIGHT] };
    const sureOne = { boxes: [middle - 55, middle - 40, middle + 25, middle + 40], scores: [0.99] }; // badly cut
    const seen = { boxes: [middle - 44, middle - 40, middle + 44, middle + 32], scores: [0.8], keypoints: UPRIGHT.map((at) => at + middle) };
    const elsewhere = { boxes: [0, 0, 20, 20], scores: [0.95] };
    const detector = seeing([searched, sureOne, seen, elsewhere], { threshold: 0.7 });
    const found = await detector.propose(PICTURE);
    expect(found.map(({ sure }) => sure)).toEqual([true, true]);
    // A pixel of the look is one of the picture's here: 4 px up are 4 px to the left.
    expect(furthest(found[1].box, [232.5, 236.5, 320.5, 308.5])).toBeLessThan(1e-9);
    expect(found[1].roll).toBeCloseTo(90, 9);
    expect(found[0].box).toEqual([40.5, 40.5, 120.5, 120.5]);
  });

  it("proposes what a look leaves below the threshold, unless something is sure", async () => {
    const searched = { boxes: [20, 20, 60, 60, 120, 120, 158, 158], scores: [0.6, 0.5] };
    const same = (score: number) => ({ boxes: [23.5, 23.5, 103.5, 103.5], scores: [score] });
    const unsure = await seeing([searched, same(0.65), same(0.6)], { threshold: 0.7 }).propose(PICTURE);
    expect(unsure.map(({ box, sure }) => [Math.round(box[0]), sure])).toEqual([[41, false], [241, false]]);
    const one = await seeing([searched, same(0.65), same(0.75)], { threshold: 0.7 }).propose(PICTURE);
    expect(one.map(({ box, sure }) => [Math.round(box[0]), sure])).toEqual([[241, true]]);
  });

  it("tells the roll of what it finds", async () => {
    const keypoints = [50, 60, 50, 40, 60, 50, 70, 58, 70, 42]; // eyes one above the other, the mouth to their right
    const session = {
      run: async () => [[40, 40, 80, 80], [0.9], keypoints].map((data) => ({ data: Float32Array.from(data), dims: [] })),
    } as unknown as Session;
    const detector = new FaceDetector(session, { threshold: 0.5, possible: 0.25, multiple: 32 });
    const [{ roll }] = await detector.propose({ width: 320, height: 320, data: new Uint8Array(320 * 320 * 4) });
    expect(roll).toBeCloseTo(90, 6);
  });

  it("searches at a larger size, too, for small faces, and tells each face once", async () => {
    const sizes: number[] = [];
    const session = {
      run: async (_: unknown, __: unknown, dims: number[]) => {
        sizes.push(dims[2]);
        const box = [10, 10, 20, 20].map((side) => (side * dims[2]) / 320);
        return [box, [0.9], new Array(10).fill(0)].map((data) => ({ data: Float32Array.from(data), dims: [] }));
      },
    } as unknown as Session;
    const detector = new FaceDetector(session, { threshold: 0.5, possible: 0.25, multiple: 32 }, 10);
    const found = await detector.propose({ width: 640, height: 640, data: new Uint8Array(640 * 640 * 4) });
    expect(sizes).toEqual([256, 864]);
    expect(found.length).toBe(1);
  });
});
