/**
 * The page in a browser, from the first visit to one without network.
 *
 *   npm run e2e -- [--url http://localhost:8000/] [--python ../.venv/bin/python] [--shots FOLDER] [--webgpu]
 *
 * Without --url a small server with the same headers is started. --shots keeps screenshots; --webgpu also runs the
 * models on Chromium's software graphics card, which takes minutes.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cameraFlags, launch } from "./browser.mjs";
import { servePage } from "./server.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    python: { type: "string", default: here("../../.venv/bin/python") },
    shots: { type: "string" },
    webgpu: { type: "boolean", default: false },
  },
});
const golden = JSON.parse(readFileSync(here("../tests/golden.json"), "utf8"));
const CLOSE = 0.5; // pixels by which browser and Python may differ
const PATIENCE = 120_000;

const folder = mkdtempSync(join(tmpdir(), "lightmark-pictures-"));
execFileSync(options.python, [here("photographs.py"), folder]);
writeFileSync(join(folder, "notes.txt"), "Milk, bread, and something for the weekend.");
const file = (name) => join(folder, name);
const FIRST = "fast"; // the model that the page begins with
const fastModel = here("../../src/lightmark/models/fast.onnx");
if (options.shots) mkdirSync(options.shots, { recursive: true });

const server = options.url ? null : await servePage();
const url = (options.url ?? server.url).replace(/\/?$/, "/");
const wrong = []; // console errors and requests to elsewhere

/** A page whose errors and requests are watched. */
async function visit(context, address = url) {
  context.setDefaultTimeout(PATIENCE);
  if (!context.watched) context.on("request", watch);
  context.watched = true;
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  await page.goto(address);
  return page;
}

const requests = [];
function watch(request) {
  const address = request.url();
  requests.push(address);
  if (!address.startsWith(url) && !/^(blob|data):/.test(address)) wrong.push(`request: ${address}`);
}

const ready = (page) => page.waitForSelector("html[data-ready=true]", { state: "attached" });
const summary = (page) => page.textContent("#summary");

/** Do `work` and wait for the result that it brings: `count` faces. */
async function bringing(page, count, work) {
  const before = await page.getAttribute("#frame", "data-results");
  await work();
  await page.waitForFunction((old) => (document.getElementById("frame").dataset.results ?? null) !== old, before);
  const words = count === 0 ? /^No face found/ : count === 1 ? /^One face found/ : new RegExp(`^${count} faces found`);
  assert.match(await summary(page), words);
}

const openPicture = (page, count, name) =>
  bringing(page, count, () => page.setInputFiles("#picture-file", file(name)));
const openSample = (page, count, name) =>
  bringing(page, count, () => page.click(`[data-sample="samples/${name}"]`));

async function saved(page, kind) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`[data-save=${kind}]`)]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

/** The largest distance, in pixels, of points and boxes in the page's JSON from Python's. */
async function distance(page, model, name) {
  const [{ faces }] = JSON.parse((await saved(page, "json")).bytes.toString());
  const wanted = golden.faces[model][name];
  assert.equal(faces.length, wanted.length, `${name}: faces`);
  let furthest = 0;
  faces.forEach((face, index) => {
    const numbers = (one) => [...one.points.flat(), ...one.box, ...(one.expected_error ?? [])];
    const theirs = numbers(wanted[index]);
    numbers(face).forEach((value, at) => (furthest = Math.max(furthest, Math.abs(value - theirs[at]))));
    assert.ok(Math.abs(face.confidence - wanted[index].confidence) < 0.02, `${name}: confidence`);
    assert.ok(Math.abs(face.pose.yaw - wanted[index].pose.yaw) < 1, `${name}: yaw`);
  });
  assert.ok(furthest < CLOSE, `${name}: ${furthest} px from Python`);
  return furthest;
}

/** Whether the card of the first face tells pose and openness as Python does, in whole degrees and percent. */
async function measuresShown(page, name) {
  const { pose, openness } = golden.faces[FIRST][name][0];
  const [yaw, pitch, roll, ...open] = await page.$$eval("#faces li:first-child .values b", (all) =>
    all.map(({ textContent: text }) => (text === "closed" ? text : Number(text.replace("−", "-").replace(/[°%]/, "")))));
  [pose.yaw, pose.pitch, pose.roll].forEach((angle, at) =>
    assert.ok(Math.abs([yaw, pitch, roll][at] - angle) < 1.6, `${name}: pose ${[yaw, pitch, roll]}`));
  openness.forEach((value, at) =>
    assert.ok(open[at] === "closed" ? value < 0.43 : Math.abs(open[at] / 100 - value) < 0.03, `${name}: openness ${open}`));
  return `openness ${open.join(", ")}`;
}

async function shoot(page, name) {
  if (options.shots) await page.screenshot({ path: join(options.shots, `${name}.png`), fullPage: true });
}

async function step(name, work) {
  const began = Date.now();
  const detail = await work();
  console.log(`ok  ${name}${detail ? `: ${detail}` : ""} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

const context = await launch();
const page = await visit(context);

await step("loads and says how it runs", async () => {
  await ready(page);
  assert.ok(await page.evaluate(() => crossOriginIsolated), "cross-origin isolated");
  return `${await page.textContent("#model-facts")}; ${await page.textContent("#starts")}`;
});

await step("can be used by keyboard", async () => {
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.do), "choose");
});

for (const name of ["curls.jpg", "turned.jpg", "meeting.jpg"]) {
  await step(`finds the faces of the sample ${name} where Python does`, async () => {
    await openSample(page, golden.faces[FIRST][name].length, name);
    return `within ${(await distance(page, FIRST, name)).toFixed(3)} px; ${await measuresShown(page, name)}`;
  });
}

await step("finds the astronaut where Python does, asking nobody", async () => {
  const before = requests.length;
  await openPicture(page, 1, "astronaut.png");
  assert.deepEqual(requests.slice(before).filter((address) => !address.startsWith("blob:")), []);
  return `within ${(await distance(page, FIRST, "astronaut.png")).toFixed(3)} px; ${await summary(page)}`;
});

await step("turns a photograph as its EXIF says, and reduces one that is too large", async () => {
  const [{ points }] = golden.faces[FIRST]["astronaut.png"];
  const furthest = async (size, name) => {
    await openPicture(page, 1, name);
    const [read] = JSON.parse((await saved(page, "json")).bytes.toString());
    assert.deepEqual([read.width, read.height], [size, size]);
    const zoom = size / 512;
    return Math.max(...read.faces[0].points.map(([x, y], index) =>
      Math.hypot((x + 0.5) / zoom - 0.5 - points[index][0], (y + 0.5) / zoom - 0.5 - points[index][1])));
  };
  const [turned, large] = [await furthest(512, "turned.jpg"), await furthest(4400, "large.jpg")];
  assert.ok(turned < 1.5 && large < 1.5, `${turned} and ${large} px of 512 away`);
  await openPicture(page, 1, "astronaut.png");
  return `${turned.toFixed(2)} and ${large.toFixed(2)} px of 512 away`;
});

await step("draws, and leaves out what is not to be shown", async () => {
  const drawn = () => page.evaluate(() => document.getElementById("view").toDataURL());
  const all = await drawn();
  for (const layer of ["points", "lines", "box"]) await page.click(`.chips label:has([name=${layer}])`);
  const bare = await drawn();
  assert.notEqual(all, bare);
  for (const layer of ["expected_error", "axes", "filled", "mesh", "eyes"]) {
    await page.click(`.chips label:has([name=${layer}])`);
    assert.notEqual(await drawn(), bare, layer);
    await page.click(`.chips label:has([name=${layer}])`);
  }
  for (const layer of ["points", "lines", "box"]) await page.click(`.chips label:has([name=${layer}])`);
  assert.equal(await drawn(), all);
});

await step("finds a very far face, unless only nearer ones are asked for", async () => {
  await openPicture(page, 1, "far.png");
  await bringing(page, 0, () => page.selectOption("#min-face", "0.02"));
  await bringing(page, 1, () => page.selectOption("#min-face", "0.01"));
  await shoot(page, "far-1280-light");
  await bringing(page, 1, () => page.selectOption("#min-face", ""));
  await openPicture(page, 1, "astronaut.png");
});

await step("saves PNG and .pts", async () => {
  const png = await saved(page, "png");
  assert.equal(png.name, "astronaut-landmarks.png");
  assert.equal(png.bytes.readUInt32BE(16), 512);
  const pts = await saved(page, "pts");
  assert.equal(pts.name, "astronaut.pts");
  const first = golden.faces[FIRST]["astronaut.png"][0].points[0];
  const [x, y] = pts.bytes.toString().split("\n")[3].split(" ").map(Number);
  assert.ok(Math.hypot(x - 1 - first[0], y - 1 - first[1]) < CLOSE);
});

await step("says so where there is no face, and no picture", async () => {
  await openPicture(page, 0, "blank.png");
  await page.setInputFiles("#picture-file", file("notes.txt"));
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice-text"), /^notes\.txt is no picture/);
  await page.click("#notice-close");
});

await step("refuses a text file as a model and keeps the one it has", async () => {
  await page.setInputFiles("#model-file", file("notes.txt"));
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice-text"), /^notes\.txt is no ONNX model/);
  await shoot(page, "refused-1280-light");
  await page.click("#notice-close");
  await page.setInputFiles("#model-file", here("../../src/lightmark/models/face.onnx"));
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice-text"), /face\.onnx is a face detector/);
  await page.click("#notice-close");
  assert.equal(await page.inputValue("#model"), FIRST);
});

await step("takes a model of the visitor's own, and each shipped one", async () => {
  await openPicture(page, 1, "astronaut.png");
  await bringing(page, 1, () => page.setInputFiles("#model-file", fastModel));
  assert.equal(await page.evaluate(() => document.getElementById("model").selectedOptions[0].text), "fast.onnx");
  await distance(page, "fast", "astronaut.png");
  const names = await page.$$eval("#model option", (all) => all.map((one) => one.value).filter((one) => one !== "own"));
  for (const name of names) {
    await bringing(page, 1, () => page.selectOption("#model", name));
    await distance(page, name, "astronaut.png");
  }
  return names.join(", ");
});

await step("lends its code: lightmark.js finds the same face", async () => {
  const picture = `data:image/png;base64,${readFileSync(file("astronaut.png")).toString("base64")}`;
  const points = await page.evaluate(async ([base, source]) => {
    const { loadDetector, loadLandmarker, detect } = await import(`${base}lightmark.js`);
    const image = new Image();
    image.src = source;
    await image.decode();
    const detector = await loadDetector(`${base}models/face.onnx`, { threads: 1 });
    const landmarker = await loadLandmarker(`${base}models/fast.onnx`, { threads: 1 });
    return (await detect(image, detector, landmarker))[0].points;
  }, [url, picture]);
  const wanted = golden.faces.fast["astronaut.png"][0].points;
  points.forEach(([x, y], index) => assert.ok(Math.hypot(x - wanted[index][0], y - wanted[index][1]) < CLOSE));
});

await step("finds a face whichever way it is rolled, and tracks it once around", async () => {
  const picture = `data:image/png;base64,${readFileSync(file("astronaut.png")).toString("base64")}`;
  const { still, detected, ids, tracked } = await page.evaluate(async ([base, source, points]) => {
    const { detect, loadDetector, loadLandmarker, Tracker } = await import(`${base}lightmark.js`);
    const image = new Image();
    image.src = source;
    await image.decode();
    const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
    const [x, y] = [xs, ys].map((values) => (Math.min(...values) + Math.max(...values)) / 2);
    const half = Math.max(Math.max(...xs) - x, Math.max(...ys) - y);
    const side = 4 * Math.ceil(half);
    const canvas = new OffscreenCanvas(side, side);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    // The picture turned counter-clockwise about its face, and where the points are then.
    const turned = (roll) => {
      const angle = (-roll * Math.PI) / 180;
      context.resetTransform();
      context.fillStyle = "grey";
      context.fillRect(0, 0, side, side);
      context.translate(side / 2, side / 2);
      context.rotate(angle);
      context.drawImage(image, -(x + 0.5), -(y + 0.5));
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const place = ([px, py]) => [
        cos * (px - x) - sin * (py - y) + side / 2 - 0.5, sin * (px - x) + cos * (py - y) + side / 2 - 0.5,
      ];
      return { picture: context.getImageData(0, 0, side, side), wanted: points.map(place) };
    };
    const meanError = (found, wanted) =>
      found.reduce((sum, [a, b], index) => sum + Math.hypot(a - wanted[index][0], b - wanted[index][1]), 0) / found.length / half;
    const landmarker = await loadLandmarker(`${base}models/fast.onnx`, { threads: 1 });
    const middle = side / 2 - 0.5;
    const box = [middle - half, middle - half, middle + half, middle + half];
    const detector = await loadDetector(`${base}models/face.onnx`, { threads: 1 });
    const [still, detected] = [[], []];
    for (const roll of [0, 50, 90, 140, 180, -120, -60]) {
      const { picture, wanted } = turned(roll);
      still.push(meanError((await landmarker.landmarks(picture, [box]))[0].points, wanted));
      const faces = await detect(picture, detector, landmarker);
      detected.push(faces.length === 1 ? meanError(faces[0].points, wanted) : Infinity);
    }
    // A detector that finds the face in the first frame only: the rest is the tracker's.
    const tracker = new Tracker({ propose: async () => [{ box, sure: true }] }, landmarker);
    const [ids, tracked] = [[], []];
    for (let frame = 0; frame <= 24; frame++) {
      const { picture, wanted } = turned(15 * frame);
      const [face] = await tracker.update(picture, frame / 10);
      ids.push(face?.id);
      tracked.push(face ? meanError(face.points, wanted) : Infinity);
    }
    return { still, detected, ids, tracked };
  }, [url, picture, golden.faces.fast["astronaut.png"][0].points]);
  assert.ok(Math.max(...still) < 0.06, `off by ${still} of half a face`);
  assert.ok(Math.max(...detected) < 0.06, `detected, off by ${detected} of half a face`);
  assert.ok(ids.every((id) => id === 0), `ids ${ids}`);
  assert.ok(Math.max(...tracked) < 0.15, `off by ${tracked} of half a face`);
});

await step("fits wide and narrow windows, the lines for developers opened", async () => {
  await openSample(page, 4, "meeting.jpg");
  await page.click("details summary");
  for (const width of [1280, 860, 390, 320]) {
    await page.setViewportSize({ width, height: 860 });
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${width} px is too narrow`);
    const cut = await page.$eval("#faces", (list) => list.scrollHeight - list.clientHeight);
    assert.equal(cut, 0, "a card of four faces is cut");
  }
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.click("details summary");
});

await step("shows a picture while the model is still loading", async () => {
  const slow = await page.context().newPage();
  await slow.route("**/models/*.onnx", () => {}); // never answered
  await slow.goto(url);
  await slow.setInputFiles("#picture-file", file("astronaut.png"));
  await slow.waitForFunction(() => document.getElementById("view").getBoundingClientRect().height > 200);
  await slow.close();
});

await step("says so where there is no camera", async () => {
  await page.click("#camera");
  await page.waitForSelector("#notice:not([hidden])");
  const notice = await page.textContent("#notice-text");
  assert.match(notice, /camera/i);
  await page.click("#notice-close");
  return notice;
});

if (options.shots) {
  await step("screenshots", async () => {
    for (const [width, height] of [[390, 844], [1280, 860]]) {
      await page.setViewportSize({ width, height });
      for (const scheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: scheme });
        await page.goto(url);
        await ready(page);
        await shoot(page, `empty-${width}-${scheme}`);
        await openSample(page, 4, "meeting.jpg");
        await shoot(page, `meeting-${width}-${scheme}`);
        await openPicture(page, 1, "astronaut.png");
        for (const layer of ["expected_error", "axes"]) await page.click(`.chips label:has([name=${layer}])`);
        await shoot(page, `astronaut-${width}-${scheme}`);
      }
    }
  });
}

await step("works with the server gone", async () => {
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.waitForSelector("#offline:not([hidden])");
  await page.reload(); // from here on the service worker sees all that is read
  await ready(page);
  const before = wrong.length;
  if (server) await server.close();
  else await context.setOffline(true);
  await page.reload();
  await ready(page);
  await openSample(page, 1, "curls.jpg");
  // A browser logs every read that fails, although the service worker answers it.
  const others = wrong.splice(before).filter((line) => !/Failed to load resource|Failed to fetch|ERR_/.test(line));
  wrong.push(...others);
});
await context.close();

const second = options.url ? null : await servePage();
const address = second?.url ?? url;

await step("follows a face before a camera", async () => {
  const filmed = await launch([...cameraFlags(file("camera.mjpeg"))]);
  const live = await filmed.newPage();
  live.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
  live.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  filmed.on("request", (request) => {
    if (!request.url().startsWith(address) && !/^(blob|data):/.test(request.url())) wrong.push(`request: ${request.url()}`);
  });
  live.setDefaultTimeout(PATIENCE);
  await live.goto(address);
  await ready(live);
  await live.click('#welcome [data-do="camera"]');
  await live.waitForFunction(() => document.getElementById("summary").textContent === "One face in sight.");
  await live.waitForTimeout(5000);
  assert.equal(await summary(live), "One face in sight.");
  const curves = await live.$$eval("#signal-lines polyline", (lines) => lines.map((line) => line.points.length));
  assert.ok(Math.min(...curves) > 3, `signals of ${curves} points`);
  const rate = await live.getAttribute("#frame", "data-rate");
  await shoot(live, "camera-1280-light");
  await live.click("#camera");
  await live.waitForFunction(() => /^One face found/.test(document.getElementById("summary").textContent));
  await filmed.close();
  return `${rate} frames a second`;
});

if (options.webgpu) {
  await step("runs on a graphics card", async () => {
    const flags = ["---disable-gpu", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];
    const drawn = await launch(flags);
    const graphics = await drawn.newPage();
    graphics.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
    graphics.setDefaultTimeout(15 * 60_000);
    await graphics.goto(address);
    await ready(graphics);
    await graphics.waitForSelector("#backend-field:not([hidden])");
    await graphics.selectOption("#backend", "webgpu");
    await graphics.waitForFunction(() => !document.getElementById("model").disabled);
    assert.match(await graphics.textContent("#model-facts"), /graphics card/, await graphics.textContent("#notice-text"));
    await openPicture(graphics, 1, "astronaut.png");
    const furthest = await distance(graphics, FIRST, "astronaut.png");
    await drawn.close();
    return `within ${furthest.toFixed(3)} px of Python`;
  });
}
await second?.close();

assert.deepEqual(wrong, [], "console errors and requests to elsewhere");
console.log("ok  no console error, no request to elsewhere");
