import { describe, expect, it } from "vitest";
import type { Point } from "../src/lightmark/geometry";
import { HEAD } from "../src/lightmark/head";
import { headPose, rotationAngles, rotationOf } from "../src/lightmark/pose";
import { faceRoll } from "../src/lightmark/roll";
import { ibug68FromWflw98, type Schema } from "../src/lightmark/schema";
import { furthest, golden } from "./golden";

const schemaCalled = (name: string): Schema => ({ name, size: 68, mirror: [], edges: [], groups: {} });

describe("the mean head", () => {
  it("is Python's", () => expect(furthest(HEAD, golden.head)).toBeLessThan(1e-12));
});

describe("headPose", () => {
  it.each(golden.poses)("tells Python's angles: $pose", ({ points, schema, pose }) => {
    const found = headPose(points as unknown as Point[], schemaCalled(schema));
    expect(found).not.toBeNull();
    expect(furthest(Object.values(found!), [pose.yaw, pose.pitch, pose.roll])).toBeLessThan(1e-4);
  });

  it("cannot tell it from points on one line, nor from points of its own kind", () => {
    const line = Array.from({ length: 68 }, (_, index): Point => [index, 2 * index]);
    expect(headPose(line, schemaCalled("ibug68"))).toBeNull();
    expect(headPose(golden.poses[0].points as unknown as Point[], schemaCalled("points68"))).toBeNull();
  });
});

describe("faceRoll", () => {
  const rollOf = (points: unknown, name: string, size: number, template: readonly Point[] | null = null): number =>
    faceRoll({ schema: { ...schemaCalled(name), size }, template }, points as Point[]);

  it.each(golden.poses)("is Python's: $roll°", ({ points, schema, roll }) => {
    expect(rollOf(points, schema, 68)).toBeCloseTo(roll, 9);
    expect(rollOf(points, "points68", 68)).toBeCloseTo(roll, 9);
  });

  it("is Python's of 98 points", () => {
    expect(rollOf(golden.wflw98.points, "wflw98", 98)).toBeCloseTo(golden.wflw98.roll, 9);
  });

  it("is that of the template on other points, and 0 without one", () => {
    const places: Point[] = [[-1, 0], [1, 0], [0, 2]];
    const turned = places.map(([x, y]): Point => [3 * y + 5, 7 - 3 * x]);
    expect(rollOf(turned, "own", 3, places)).toBeCloseTo(90);
    expect(rollOf(turned, "own", 3)).toBeCloseTo(0);
  });
});

describe("rotations", () => {
  it("have the angles that they were made from", () => {
    const pose = { yaw: 30, pitch: -20, roll: 10 };
    expect(furthest(Object.values(rotationAngles(rotationOf(pose))), [30, -20, 10])).toBeLessThan(1e-9);
  });
});

describe("WFLW's 98 points", () => {
  it("imply Python's 68", () => {
    const { points, ibug68 } = golden.wflw98;
    expect(furthest(ibug68FromWflw98(points as unknown as Point[]), ibug68)).toBeLessThan(1e-9);
  });
});
