import { expect, it } from "vitest";
import { modelsIn } from "../src/page/catalogue";

it("offers the best model first, and none that is slower in a browser", () => {
  const entry = (file: string) => ({ file, licence: "", summary: "", sha256: "" });
  const listed = { fast: entry("fast.onnx"), "fast-int8": entry("a.onnx"), other: entry("b.onnx"), standard: entry("c.onnx") };
  const models = modelsIn(listed, "http://localhost/x/models/");
  expect(models.map(({ name }) => name)).toEqual(["fast", "standard", "other"]);
  expect(models[0].url).toBe("http://localhost/x/models/fast.onnx");
});
