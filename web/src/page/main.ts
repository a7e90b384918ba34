/** Browser page: open pictures and cameras, draw the faces, save and announce the results. */
import { hasWebGpu, type Backend } from "../lightmark/runtime";
import { Camera } from "./camera";
import { readCatalogue, type Catalogue } from "./catalogue";
import { LAYERS, type Layers } from "./drawing";
import { Engine, Refusal } from "./engine";
import { drawMask } from "./mask";
import type { Found, Loaded } from "./messages";
import { countOf, element, showFaces, showStages } from "./panel";
import { duration, enlarged, megabytes, stemOf, toJson, toPts, type Detection } from "./results";
import { openShot } from "./shot";
import { Signals } from "./signals";
import { followTheme } from "./theme";
import { View, type Shot } from "./view";

const byId = <Kind extends HTMLElement>(id: string): Kind => document.getElementById(id) as Kind;

const frame = byId("frame");
const canvas = byId<HTMLCanvasElement>("view");
const modelChoice = byId<HTMLSelectElement>("model");
const backendChoice = byId<HTMLSelectElement>("backend");
const minFaceChoice = byId<HTMLSelectElement>("min-face");
const pictureFile = byId<HTMLInputElement>("picture-file");
const modelFile = byId<HTMLInputElement>("model-file");
const chips = [...document.querySelectorAll<HTMLInputElement>(".chips input")];
const samples = [...document.querySelectorAll<HTMLButtonElement>("[data-sample]")];
const saves = [...document.querySelectorAll<HTMLButtonElement>("[data-save]")];

const MODELS = new URL("models/", document.baseURI).href;
const ORT = new URL("ort/", document.baseURI).href;
const threads = Number(new URLSearchParams(location.search).get("threads")) || null; // for measuring
const RATE_OVER = 30; // frames that the frame rate is averaged over
const OWN = "own"; // the choice that is the visitor's file

const engine = new Engine();
const camera = new Camera();
const signals = new Signals(byId("signal-lines"));
const view = new View(canvas, frame, layers, () => (result && result.found.faces.length > 1 ? chosen : null));

/** A frame of the camera in which faces were looked for, when, and the model that did. */
interface Looked {
  readonly found: Found & { readonly bitmap: ImageBitmap };
  readonly loaded: Loaded;
  readonly seconds: number;
}

interface Result {
  readonly shot: Shot;
  readonly found: Found;
  readonly model: Loaded;
}

let catalogue: Catalogue | null = null;
let model: Loaded | null = null;
let ownModel: File | null = null;
let shownModel = ""; // the choice that runs
let shownBackend: Backend = "wasm";
let loading: Promise<void> = Promise.resolve();
let result: Result | null = null;
let shot: Shot | null = null;
let chosen = 0;
let turn = 0; // counts pictures: an answer that comes for an older one is dropped
let shown = 0; // number of results so far, for tests of the page
let firstShown = false;

void begin();

async function begin(): Promise<void> {
  followTheme(byId("theme"));
  drawMask(byId("mask"));
  listen();
  busy("Loading the model …");
  try {
    catalogue = await readCatalogue(MODELS);
    const about = catalogue.models[0];
    modelChoice.replaceChildren(...catalogue.models.map(({ name }) => new Option(name, name)));
    await change(about.name);
    if (model) byId("starts").textContent = startOf(model);
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    complain(error);
  }
  busy(null);
  if (await hasWebGpu()) byId("backend-field").hidden = false;
  await keepOffline();
}

function startOf({ read, start }: Loaded): string {
  const ready = duration(performance.now());
  return `Ready ${ready} after the page was opened: model read in ${duration(read)}, started in ${duration(start)}.`;
}

/** Files for a visit without network; where a page may keep any, on https and localhost. */
async function keepOffline(): Promise<void> {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    const cache = (await caches.keys()).find((name) => name.startsWith("lightmark "));
    if (cache && catalogue) await keepModels(await caches.open(cache), catalogue);
    byId("offline").hidden = false;
  } catch {
    // Private windows may refuse it; the page is then as good, as long as there is a network.
  }
}

async function keepModels(cache: Cache, { models, detector }: Catalogue): Promise<void> {
  const wanted = [`${MODELS}models.json`, `${MODELS}detectors.json`, detector.url, models[0].url];
  const missing = [];
  for (const url of wanted) if (!(await cache.match(url))) missing.push(url);
  await cache.addAll(missing);
}

// --- Models

/** Let the model called `name` take over; the one before stays if it cannot. */
function change(name: string): Promise<void> {
  loading = loading.then(() => load(name));
  return loading;
}

async function load(name: string): Promise<void> {
  const about = catalogue?.models.find((one) => one.name === name);
  const source = about?.url ?? ownModel;
  if (!catalogue || !source) return;
  modelChoice.disabled = backendChoice.disabled = true;
  busy(`Loading ${about?.name ?? ownModel?.name} …`);
  try {
    model = await engine.load({
      kind: "load",
      name: about ? about.name : (ownModel as File).name,
      model: source,
      detector: catalogue.detector.url,
      ort: ORT,
      backend: backendChoice.value as Backend,
      threads,
    });
    shownModel = name;
    shownBackend = backendChoice.value as Backend;
    tellModel(model, about?.summary ?? "Your own file; it is not sent anywhere.", about?.licence ?? "");
  } catch (error) {
    complain(error);
  }
  if (shownModel) modelChoice.value = shownModel;
  backendChoice.value = shownBackend;
  modelChoice.disabled = backendChoice.disabled = false;
  busy(null);
}

function tellModel(loaded: Loaded, summary: string, licence: string): void {
  const { spec, bytes, threads } = loaded;
  const runsOn =
    backendChoice.value === "webgpu" ? "graphics card" : `processor, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  byId("model-about").textContent = summary;
  byId("model-facts").textContent = [`${spec.schema.size} points`, `crops of ${spec.size} px`, megabytes(bytes), runsOn].join(" · ");
  byId("licence").textContent = licence ? `The code is free (Apache-2.0). The model ${shownModel}: ${licence}` : "";
  for (const chip of chips) {
    if (chip.name === "expected_error") chip.disabled = !spec.confidence;
    if (chip.name === "pose") chip.disabled = !["ibug68", "wflw98"].includes(spec.schema.name);
  }
}

async function useOwn(file: File): Promise<void> {
  const before = ownModel;
  ownModel = file;
  await change(OWN);
  if (shownModel !== OWN || model === null) {
    ownModel = before;
    return;
  }
  const option = [...modelChoice.options].find(({ value }) => value === OWN) ?? new Option("", OWN);
  option.textContent = file.name;
  modelChoice.append(option);
  modelChoice.value = OWN;
}

// --- Pictures

async function openPicture(blob: Blob, name: string): Promise<void> {
  const given = performance.now();
  stopCamera();
  const mine = ++turn;
  quiet();
  try {
    const opened = await openShot(blob, name);
    if (mine !== turn) return;
    shot = opened;
    frame.dataset.state = "picture";
    byId("signals").hidden = true;
    delete frame.dataset.mirrored;
    byId("welcome").hidden = true;
    clearResult(opened);
    await analyse();
    if (mine === turn) tellFirst(performance.now() - given);
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

/** Find the faces of the picture that is shown, with the model that is chosen. */
async function analyse(): Promise<void> {
  const mine = turn;
  await loading;
  if (!shot || !model || mine !== turn) return;
  busy("Looking for faces …");
  try {
    const [looked, loaded] = [shot, model];
    const found = await engine.find({ kind: "detect", bitmap: looked.bitmap, seconds: 0, minFace: minFace() });
    if (mine !== turn) return;
    chosen = 0;
    show({ shot: looked, found, model: loaded });
  } finally {
    busy(null);
  }
}

function clearResult(opened: Shot): void {
  result = null;
  for (const button of saves) button.disabled = true;
  view.show({ shot: opened, faces: [], schema: model?.spec.schema ?? null });
  byId("summary").textContent = "Looking …";
}

function show(next: Result): void {
  result = next;
  const { found, shot, model } = next;
  chosen = Math.min(chosen, Math.max(found.faces.length - 1, 0));
  view.show({ shot, faces: found.faces, schema: model.spec.schema });
  showFaces(found.faces, found.faces.length > 1 ? chosen : null, byId("faces"), choose);
  showStages(found.stages, byId("times"), byId("stack"));
  tell(next);
  for (const button of saves) button.disabled = button.dataset.save !== "png" && found.faces.length === 0;
  frame.dataset.results = String(++shown);
}

function tell({ found }: Result): void {
  const count = found.faces.length;
  const words = camera.running
    ? count ? `${countOf(count)} in sight.` : "No face in sight."
    : count
      ? `${countOf(count)} found in ${duration(found.stages.total)}.`
      : "No face found. It may be too small, covered or turned far away.";
  const summary = byId("summary");
  if (summary.textContent !== words) summary.textContent = words;
  canvas.setAttribute("aria-label", count ? `The picture with landmarks on ${countOf(count).toLowerCase()}` : "The picture; no face found");
}

function tellFirst(milliseconds: number): void {
  if (firstShown || !result) return;
  firstShown = true;
  byId("first").textContent = `First result ${duration(milliseconds)} after it was asked for.`;
}

function choose(index: number): void {
  chosen = index;
  if (result) show(result);
}

// --- Camera

async function toggleCamera(): Promise<void> {
  if (camera.running) {
    stopCamera();
    return;
  }
  await startCamera(camera.facing);
}

async function startCamera(facing: Camera["facing"]): Promise<void> {
  const asked = performance.now();
  const mine = ++turn;
  quiet();
  busy("Starting the camera …");
  try {
    await camera.start(facing);
    await loading;
    if (mine !== turn) return;
    camera.onEnded(stopCamera);
    await engine.forget();
    frame.dataset.state = "camera";
    signals.clear();
    byId("signals").hidden = false;
    byId("welcome").hidden = true;
    frame.dataset.mirrored = String(camera.mirrored);
    tellCamera();
    busy(null);
    await follow(mine, asked);
  } catch (error) {
    camera.stop();
    tellCamera();
    complain(error);
  } finally {
    busy(null);
  }
}

/** Frame after frame, as fast as they are done: the next one is looked at while this one is drawn. */
async function follow(mine: number, asked: number): Promise<void> {
  const times: number[] = [];
  const followed = (): boolean => camera.running && mine === turn;
  let coming = nextFrame();
  try {
    while (followed()) {
      const looked = await coming;
      if (!followed()) return;
      coming = nextFrame();
      if (!looked) continue;
      const { found, loaded, seconds } = looked;
      times.push(performance.now());
      const before = shot;
      const { width, height } = found.bitmap;
      shot = { name: "camera.png", bitmap: found.bitmap, width, height };
      show({ shot, found, model: loaded });
      signals.add(seconds, found.faces[chosen]);
      before?.bitmap.close();
      tellRate(times);
      tellFirst(performance.now() - asked);
    }
  } finally {
    coming.catch(() => undefined); // that frame is nobody's any more
  }
}

/** The next frame of the camera, looked at; null where there is none. */
async function nextFrame(): Promise<Looked | null> {
  const bitmap = await camera.frame();
  if (!bitmap) return null;
  const seconds = performance.now() / 1000;
  await loading;
  const loaded = model;
  const found = await engine.find({ kind: "track", bitmap, seconds, minFace: minFace() });
  return loaded && found.bitmap ? { found: { ...found, bitmap: found.bitmap }, loaded, seconds } : null;
}

function tellRate(times: number[]): void {
  if (times.length > RATE_OVER) times.shift();
  if (times.length < 5) return;
  const rate = (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]);
  const fps = byId("fps");
  fps.hidden = false;
  fps.textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} fps`;
  frame.dataset.rate = rate.toFixed(2);
}

/** Leaves the last frame, looked at, where it is. */
function stopCamera(): void {
  if (!camera.running) return;
  camera.stop();
  turn += 1;
  if (result) {
    frame.dataset.state = "picture";
    tell(result);
  } else {
    frame.dataset.state = "empty";
    byId("welcome").hidden = false;
  }
  tellCamera();
}

function tellCamera(): void {
  byId("camera").textContent = camera.running ? "Stop and keep this frame" : "Use the camera";
  byId("flip").hidden = !(camera.running && camera.several);
  if (!camera.running) byId("fps").hidden = true;
}

// --- Saving

async function save(kind: string): Promise<void> {
  if (!result) return;
  const { shot, found, model } = result;
  const stem = stemOf(shot.name);
  const { bitmap, width, height } = shot;
  const faces = enlarged(found.faces, width / bitmap.width, height / bitmap.height);
  if (kind === "png") {
    const png = await view.toPng();
    if (png) download(png, `${stem}-landmarks.png`);
  } else if (kind === "json") {
    const detection: Detection = { file: shot.name, width, height, schema: model.spec.schema, faces };
    download(new Blob([toJson(detection)], { type: "application/json" }), `${stem}.json`);
  } else if (faces[chosen]) {
    const name = faces.length > 1 ? `${stem}_${chosen}.pts` : `${stem}.pts`;
    download(new Blob([toPts(faces[chosen].points)], { type: "text/plain" }), name);
  }
}

function download(blob: Blob, name: string): void {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// --- What the visitor does

function listen(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-do]")) {
    button.addEventListener("click", () => (button.dataset.do === "camera" ? void toggleCamera() : pictureFile.click()));
  }
  for (const button of samples) button.addEventListener("click", () => void openSample(button));
  for (const button of saves) button.addEventListener("click", () => void save(button.dataset.save ?? ""));
  for (const chip of chips) chip.addEventListener("change", () => view.draw());
  pictureFile.addEventListener("change", () => taken(pictureFile));
  modelFile.addEventListener("change", () => taken(modelFile));
  byId("own").addEventListener("click", () => modelFile.click());
  byId("flip").addEventListener("click", () => void startCamera(camera.facing === "user" ? "environment" : "user"));
  byId("notice-close").addEventListener("click", quiet);
  modelChoice.addEventListener("change", () => void again(modelChoice.value));
  backendChoice.addEventListener("change", () => void again(shownModel));
  minFaceChoice.addEventListener("change", () => {
    quiet();
    if (!camera.running) void analyse().catch(complain);
  });
  canvas.addEventListener("click", (event) => {
    const index = view.faceAt(event);
    if (index !== null) choose(index);
  });
  document.addEventListener("paste", (event) => void paste(event));
  listenForDrops();
}

function minFace(): number | null {
  return minFaceChoice.value === "" ? null : Number(minFaceChoice.value);
}

async function again(name: string): Promise<void> {
  quiet();
  await change(name);
  if (!camera.running) await analyse().catch(complain);
}

function taken(input: HTMLInputElement): void {
  const file = input.files?.[0];
  input.value = ""; // so that the same file may be chosen again
  if (file) void open(file, input === modelFile);
}

/** A model where it says so or was chosen as one, else a picture. */
async function open(file: File, asModel = false): Promise<void> {
  pressSample(null);
  if (!asModel && !/\.onnx$/i.test(file.name)) return openPicture(file, file.name || "pasted.png");
  quiet();
  await useOwn(file);
  if (!camera.running) await analyse().catch(complain);
}

async function openSample(button: HTMLButtonElement): Promise<void> {
  const path = button.dataset.sample ?? "";
  pressSample(button);
  try {
    const answer = await fetch(path);
    if (!answer.ok) throw new Refusal(`The sample is not there (${answer.status}).`);
    await openPicture(await answer.blob(), path.split("/").pop() ?? path);
  } catch (error) {
    complain(error);
  }
}

function pressSample(pressed: HTMLButtonElement | null): void {
  for (const button of samples) button.setAttribute("aria-pressed", String(button === pressed));
}

async function paste(event: ClipboardEvent): Promise<void> {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (!file) return;
  event.preventDefault();
  await open(file);
}

function listenForDrops(): void {
  const body = document.body;
  const ours = (event: DragEvent): boolean => [...(event.dataTransfer?.types ?? [])].includes("Files");
  body.addEventListener("dragover", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    body.classList.add("dragging");
  });
  body.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) body.classList.remove("dragging");
  });
  body.addEventListener("drop", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    body.classList.remove("dragging");
    const file = event.dataTransfer?.files[0];
    if (file) void open(file);
  });
}

// --- What the page says

function layers(): Layers {
  const shown = Object.fromEntries(LAYERS.map((name) => [name, false]));
  for (const chip of chips) shown[chip.name] = chip.checked && !chip.disabled;
  return shown as unknown as Layers;
}

function busy(words: string | null): void {
  byId("busy").hidden = words === null;
  if (words) byId("busy-text").textContent = words;
}

function complain(error: unknown): void {
  busy(null);
  const message = error instanceof Error ? error.message : String(error);
  byId("notice-text").textContent = error instanceof Refusal || isOurs(error) ? message : `Something went wrong: ${message}`;
  byId("notice").hidden = false;
  if (!result && byId("summary").textContent === "Looking …") byId("summary").textContent = "No result.";
}

function isOurs(error: unknown): boolean {
  return error instanceof Error && error.name === "LightmarkError";
}

function quiet(): void {
  byId("notice").hidden = true;
}
