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

describe("FaceDetector", () => {
  it("gives boxes in the picture's pixels, the largest first", async () => {
    const session = {
      run: async () => [
        { data: Float32Array.from([0, 0, 10, 10, 100, 100, 140, 140, 50, 50, 60, 60, 20, 90, 50, 95, 160, 0, 190, 30, 200, 90, 230, 120]), dims: [1, 6, 4] },
        { data: Float32Array.from([0.9, 0.8, 0.67, 0.44, 0.44, 0.46]), dims: [1, 6] },
        { data: new Float32Array(60), dims: [1, 6, 5, 2] },
      ],
    } as unknown as Session;
    const detector = new FaceDetector(session, { threshold: 0.7, possible: 0.25, multiple: 32 }, 0.5);
    const picture = { width: 512, height: 512, data: new Uint8Array(512 * 512 * 4) };
    const sure = [[200.5, 200.5, 280.5, 280.5], [0.5, 0.5, 20.5, 20.5]];
    expect(await detector.detect(picture)).toEqual(sure);
    const proposed = (await detector.propose(picture)).map(({ box, sure }) => [box[0], sure]);
    expect(proposed).toEqual([[200.5, true], [400.5, false], [0.5, true], [100.5, false]]);
    const others = (await detector.propose(picture, [[199, 199, 281, 281], [0, 0, 21, 21]])).map(({ box, sure }) => [box[0], sure]);
    expect(others).toEqual([[320.5, false], [400.5, false], [40.5, false], [100.5, false]]);
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
