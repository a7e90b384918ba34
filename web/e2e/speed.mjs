/**
 * Milliseconds of each stage in Chromium, as JSON: medians over a picture of 640×480 with one face.
 *
 *   npm run speed -- [--url http://localhost:8000/] [--python ../.venv/bin/python] [--rounds 100] [--threads 1,2]
 *     [--out FILE]
 *
 * Every model that the page offers, at each number of threads, each in a browser of its own. `detect` looks at each
 * picture anew; `track` follows the face, as before a camera. On a machine that does nothing else; the published run is in
 * benchmarks/results/page-speed.json.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { launch } from "./browser.mjs";
import { servePage } from "./server.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    python: { type: "string", default: here("../../.venv/bin/python") },
    rounds: { type: "string", default: "100" },
    threads: { type: "string", default: "1,2" },
    out: { type: "string" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "lightmark-pictures-"));
execFileSync(options.python, [here("photographs.py"), folder]);
const film = readFileSync(join(folder, "camera.mjpeg"));
const frame = film.subarray(0, film.indexOf(Buffer.from([0xff, 0xd9])) + 2).toString("base64");
const server = options.url ? null : await servePage();
const url = options.url ?? server.url;
const { version } = JSON.parse(readFileSync(here("../node_modules/onnxruntime-web/package.json"), "utf8"));

const rows = [];
let browserVersion = "";
for (const threads of options.threads.split(",").map(Number)) {
  const context = await launch();
  browserVersion = context.browser()?.version() ?? browserVersion;
  const page = await context.newPage();
  page.setDefaultTimeout(600_000);
  await page.goto(`${url}?threads=${threads}`);
  await page.waitForSelector("html[data-ready=true]", { state: "attached" });
  const models = await page.$$eval("#model option", (all) => all.map((one) => one.value));
  for (const model of models) {
    const measured = await page.evaluate(measure, { base: url, model, frame, threads, rounds: Number(options.rounds) });
    rows.push({ model, threads, ...measured });
  }
  browserVersion ||= await page.evaluate(() => navigator.userAgent);
  await context.close();
}
await server?.close();
const machine = { processor: cpus()[0].model, cores: cpus().length, node: process.version };
const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: here("."), encoding: "utf8" }).trim();
const what = { picture: "640x480, one face", rounds: Number(options.rounds) };
const command = "npm run speed (in web/)";
const registry = JSON.parse(readFileSync(here("../../src/lightmark/models/models.json"), "utf8"));
const hashes = Object.fromEntries([...new Set(rows.map((row) => row.model))].map((name) => [name, registry[name]?.sha256]));
const versions = { browser: browserVersion, "onnxruntime-web": version };
const result = JSON.stringify({ command, commit, models: hashes, ...versions, machine, ...what, rows }, null, 1);
if (options.out) writeFileSync(options.out, `${result}\n`);
else console.log(result);

/** Runs in the page, in its main thread: the same code as the worker's, without messages to and fro. */
async function measure({ base, model, frame, threads, rounds }) {
  const { detect: find, loadDetector, loadLandmarker, toPicture, Tracker } = await import(`${base}lightmark.js`);
  const listed = await (await fetch(`${base}models/models.json`)).json();
  const image = new Image();
  image.src = `data:image/jpeg;base64,${frame}`;
  await image.decode();
  const bitmap = await createImageBitmap(image);
  const options = { threads };
  const opened = performance.now();
  const detector = await loadDetector(`${base}models/face.onnx`, options);
  const landmarker = await loadLandmarker(`${base}models/${listed[model].file}`, options);
  const start = performance.now() - opened;
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const median = (values) => Number([...values].sort((a, b) => a - b)[values.length >> 1].toFixed(2));
  const run = async (work) => {
    const seen = [];
    for (let round = 0; round < rounds + 10; round++) {
      const began = performance.now();
      const picture = toPicture(bitmap, canvas);
      const pixels = performance.now() - began;
      const faces = await work(picture, round);
      const total = performance.now() - began;
      const [looking, marking] = [detector.stopwatch.take(), landmarker.stopwatch.take()];
      if (faces.length !== 1) throw new Error(`${faces.length} faces`);
      const networks = { detector: looking.network, crop: marking.crop, landmarks: marking.network };
      if (round >= 10) seen.push({ pixels, shrink: looking.crop, ...networks, total });
    }
    return Object.fromEntries(Object.keys(seen[0]).map((key) => [key, median(seen.map((row) => row[key]))]));
  };
  const detect = await run((picture) => find(picture, detector, landmarker));
  const tracker = new Tracker(detector, landmarker);
  const track = await run((picture, round) => tracker.update(picture, round / 30));
  return { start_ms: Number(start.toFixed(0)), detect, track };
}
