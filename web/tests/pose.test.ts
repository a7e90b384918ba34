import { describe, expect, it } from "vitest";
import type { Point } from "../src/lightmark/geometry";
import { HEAD } from "../src/lightmark/head";
import { headPose, rotationAngles, rotationOf } from "../src/lightmark/pose";
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

describe("rotations", () => {
  it("are told by their angles", () => {
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
