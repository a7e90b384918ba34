/** The worker that runs the models, so that the page never stops answering. */
import { LightmarkError } from "../lightmark/errors";
import { findFaces } from "../lightmark/detection";
import { loadDetector, type FaceDetector } from "../lightmark/face_detector";
import { loadLandmarker, type Landmarker } from "../lightmark/landmarker";
import { defaultThreads, readBytes } from "../lightmark/runtime";
import { toPicture } from "../lightmark/source";
import { Tracker } from "../lightmark/tracker";
import type { Answer, FindRequest, Found, Loaded, LoadRequest, Request } from "./messages";

interface Models {
  readonly detector: FaceDetector;
  readonly landmarker: Landmarker;
  tracker: Tracker;
}

let models: Models | null = null;
let canvas: OffscreenCanvas | undefined;
let detectorOf: { readonly key: string; readonly detector: Promise<FaceDetector> } | null = null;
let queue = Promise.resolve();

self.addEventListener("message", (event: MessageEvent<{ id: number; request: Request }>) => {
  const { id, request } = event.data;
  queue = queue.then(async () => {
    try {
      const result = await handle(request);
      const handed = result && "bitmap" in result && result.bitmap ? [result.bitmap] : [];
      self.postMessage({ id, result } satisfies Answer, { transfer: handed });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      self.postMessage({ id, error: message, expected: error instanceof LightmarkError } satisfies Answer);
    }
  });
});

async function handle(request: Request): Promise<Loaded | Found | null> {
  if (request.kind === "load") return load(request);
  if (request.kind === "forget") {
    if (models) models.tracker = new Tracker(models.detector, models.landmarker);
    return null;
  }
  if (!models) throw new LightmarkError("no model is loaded yet");
  return find(request, models);
}

/** The old model stays until the new one has shown that it runs. */
async function load({ name, model, detector: detectorUrl, ort, backend, threads }: LoadRequest): Promise<Loaded> {
  const options = { ort, backend, threads: threads ?? defaultThreads() };
  const key = `${detectorUrl} ${backend}`;
  if (detectorOf?.key !== key) detectorOf = { key, detector: loadDetector(detectorUrl, options) };
  detectorOf.detector.catch(() => (detectorOf = null));
  const began = performance.now();
  const bytes = await readBytes(model);
  const read = performance.now();
  const landmarker = await loadLandmarker(new File([bytes as BlobPart], name), options);
  const detector = await detectorOf.detector;
  await models?.landmarker.release();
  models = { detector, landmarker, tracker: new Tracker(detector, landmarker) };
  takeCosts(models);
  return {
    spec: landmarker.spec,
    bytes: bytes.length,
    read: read - began,
    start: performance.now() - read,
    threads: options.threads,
  };
}

async function find({ kind, bitmap, seconds, minFace }: FindRequest, models: Models): Promise<Found> {
  const { detector, landmarker, tracker } = models;
  detector.minFace = minFace;
  const began = performance.now();
  canvas ??= new OffscreenCanvas(bitmap.width, bitmap.height);
  const picture = toPicture(bitmap, canvas);
  const pixels = performance.now() - began;
  const found =
    kind === "track"
      ? await tracker.update(picture, seconds)
      : (await findFaces(picture, detector, landmarker)).map((face, id) => ({ ...face, id }));
  const total = performance.now() - began;
  const searched = kind === "detect" || tracker.searched;
  if (kind === "detect") bitmap.close();
  const handed = kind === "detect" ? null : bitmap;
  return { faces: found, stages: { pixels, ...takeCosts(models), total }, searched, bitmap: handed };
}

function takeCosts({ detector, landmarker }: Models): { shrink: number; detector: number; crop: number; landmarks: number } {
  const [looking, marking] = [detector.stopwatch.take(), landmarker.stopwatch.take()];
  return { shrink: looking.crop, detector: looking.network, crop: marking.crop, landmarks: marking.network };
}
