import { describe, expect, it } from "vitest";
import { FaceDetector, chooseBoxes, fitWhole } from "../src/lightmark/face_detector";
import type { Session } from "../src/lightmark/runtime";
import { furthest, golden } from "./golden";

describe("fitWhole", () => {
  it.each(golden.fits)("brings $picture to Python's $network", ({ picture, matrix, network }) => {
    const fit = fitWhole(picture[0], picture[1], 320, 32);
    expect([fit.width, fit.height]).toEqual(network);
    expect(furthest(fit.matrix, matrix)).toBeLessThan(1e-12);
  });
});

describe("chooseBoxes", () => {
  it("keeps what Python keeps, surest first", () => {
    const { boxes, scores, least, kept, certain } = golden.choices;
    const finds = chooseBoxes(boxes, scores, least);
    expect(furthest(finds.map((find) => find.box), kept)).toBeLessThan(1e-9);
    expect(furthest(finds.map((find) => find.score), certain)).toBeLessThan(1e-9);
  });

  it("keeps nothing where nothing is sure enough", () => {
    expect(chooseBoxes([0, 0, 1, 1], [0.2], 0.3)).toEqual([]);
  });
});

describe("FaceDetector", () => {
  it("gives boxes in the picture's pixels, the largest first", async () => {
    const session = {
      run: async () => [
        { data: Float32Array.from([0, 0, 10, 10, 100, 100, 140, 140, 50, 50, 60, 60, 20, 90, 50, 95]), dims: [1, 4, 4] },
        { data: Float32Array.from([0.9, 0.8, 0.3, 0.2]), dims: [1, 4] },
      ],
    } as unknown as Session;
    const detector = new FaceDetector(session, { threshold: 0.5, possible: 0.25, multiple: 32 });
    const picture = { width: 640, height: 640, data: new Uint8Array(640 * 640 * 4) };
    const sure = [[200.5, 200.5, 280.5, 280.5], [0.5, 0.5, 20.5, 20.5]];
    expect(await detector.detect(picture)).toEqual(sure);
    const proposed = (await detector.propose(picture)).map(({ box, sure }) => [box[0], sure]);
    expect(proposed).toEqual([[200.5, true], [0.5, true], [100.5, false]]);
  });
});
