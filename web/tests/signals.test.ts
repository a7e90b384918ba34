import { expect, it } from "vitest";
import { pointsOf, SPAN } from "../src/page/signals";

const open = (left: number): { left: number; right: number; mouth: number } => ({ left, right: 0, mouth: 1 });

it("puts the newest value at the right edge, and wide open at the top", () => {
  const samples = [
    { seconds: 100 - SPAN, openness: open(0) },
    { seconds: 100 - SPAN / 2, openness: open(0.5) },
    { seconds: 100, openness: open(1) },
  ];
  expect(pointsOf(samples, "left")).toBe("0.0,80.0 150.0,40.0 300.0,0.0");
  expect(pointsOf(samples, "mouth")).toBe("0.0,0.0 150.0,0.0 300.0,0.0");
});

it("leaves out what is not known", () => {
  expect(pointsOf([{ seconds: 1, openness: null }, { seconds: 2, openness: open(1) }], "right")).toBe("300.0,80.0");
  expect(pointsOf([], "left")).toBe("");
});
