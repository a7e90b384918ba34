import { expect, it } from "vitest";
import type { ModelSpec } from "../src/lightmark/spec";
import { normaliseCrops, specFromJson } from "../src/lightmark/spec";
import { furthest, golden } from "./golden";

it("normalises crops to Python's planes", () => {
  const { mean, std, size, every_13th } = golden.planes;
  const bytes = Uint8Array.from({ length: 2 * size * size * 3 }, (_, index) => index);
  const crops = [0, 1].map((index) => ({
    width: size, height: size, data: bytes.subarray(index * size * size * 3, (index + 1) * size * size * 3),
  }));
  const planes = normaliseCrops(crops, { mean, std, size } as unknown as ModelSpec);
  expect(furthest([...planes].filter((_, index) => index % 13 === 0), every_13th)).toBeLessThan(1e-6);
});

const FITTING = {
  lightmark: 1, size: 112, crop_scale: 1.25, mean: [0, 0, 0], std: [1, 1, 1],
  schema: { name: "one", mirror: [0] },
};

it("reads a ModelSpec", () => {
  expect(specFromJson(JSON.stringify(FITTING), "a.onnx").size).toBe(112);
});

it.each([
  ["size", 15], ["size", 4097], ["size", 1e9], ["size", 100.5], ["size", "112"], ["size", null],
  ["crop_scale", 0], ["crop_scale", 101], 
  ["mean", [0, 0]], ["std", [1, 0, 1]], ["std", [1, -1, 1]],
])("refuses a %s of %j", (key, value) => {
  expect(() => specFromJson(JSON.stringify({ ...FITTING, [key]: value }), "a.onnx")).toThrow(
    new RegExp(`^a\\.onnx holds no usable ModelSpec: ${key} is `),
  );
});

it.each([[[]], [[[0, -101]]], [[[0, "1"]]], [[[0, 0], [0, 0]]], [5]])("refuses a template of %j", (template) => {
  expect(() => specFromJson(JSON.stringify({ ...FITTING, template }), "a.onnx")).toThrow("holds no usable ModelSpec");
});

it("reads a template", () => {
  expect(specFromJson(JSON.stringify({ ...FITTING, template: [[0.1, -0.2]] }), "a.onnx").template).toEqual([[0.1, -0.2]]);
  expect(specFromJson(JSON.stringify({ ...FITTING, template: null }), "a.onnx").template).toBeNull();
});

it.each([[[]], [[[[0, 0]]]], [[[[0, 0]], [[0, 0]], [[0, 101]]]], [[[], [], []]], [[null, null, null]], [5]])("refuses a box map of %j", (box_map) => {
  const text = JSON.stringify({ ...FITTING, template: [[0.1, -0.2]], box_map });
  expect(() => specFromJson(text, "a.onnx")).toThrow("holds no usable ModelSpec");
});

it("reads a box map, which needs a template", () => {
  const box_map = [[[1, 2]], [[3, 4]], [[5, 6]]];
  expect(specFromJson(JSON.stringify({ ...FITTING, template: [[0, 0]], box_map }), "a.onnx").boxMap).toEqual(box_map);
  expect(specFromJson(JSON.stringify(FITTING), "a.onnx").boxMap).toBeNull();
  expect(() => specFromJson(JSON.stringify({ ...FITTING, box_map }), "a.onnx")).toThrow("box_map does not fit");
});

it("refuses more points than any model has", () => {
  const mirror = Array.from({ length: 4097 }, (_, index) => index);
  const spec = { ...FITTING, schema: { name: "many", mirror } };
  expect(() => specFromJson(JSON.stringify(spec), "a.onnx")).toThrow("it has 4097 points, more than 4096");
});

it("refuses what is nested without end", () => {
  expect(() => specFromJson("[".repeat(1_000_000), "a.onnx")).toThrow("holds no usable ModelSpec");
});
