/** FaceDetector: Lightmark's own small network for faces (lightmark/detectors/face_detector.py). */
import { invert, largestFirst, overlap, transformBox, type Box, type Matrix } from "./geometry";
import { warp, type Picture } from "./image";
import { openSession, readBytes, type RuntimeOptions, type Session } from "./runtime";
import { Stopwatch } from "./stopwatch";
import { detectorFromMetadata, type DetectorSpec } from "./spec";

const LONGEST = 320; // pixels of the longer side that the network sees
const SAME_IOU = 0.4; // boxes that overlap by more are one face, found twice
const MOST = 400; // finds a picture that are looked at, surest first

export interface Find {
  readonly box: Box;
  readonly score: number;
}

/** A box that may frame a face; whether the detector is sure of it, or a landmark model is to judge. */
export interface Proposal {
  readonly box: Box;
  readonly sure: boolean;
}

export interface Fit {
  readonly matrix: Matrix;
  readonly width: number;
  readonly height: number;
}

/** How a whole picture comes to `longest` pixels on its longer side, in the upper left corner of a larger one. */
export function fitWhole(width: number, height: number, longest: number, multiple: number): Fit {
  const zoom = longest / Math.max(width, height);
  const shift = (zoom - 1) / 2; // the edge at −0.5 stays at −0.5
  const padded = (side: number): number => {
    const exact = Math.round(side * zoom * 1e6) / 1e6;
    return Math.max(1, Math.ceil(exact / multiple)) * multiple;
  };
  return { matrix: [zoom, 0, shift, 0, zoom, shift], width: padded(width), height: padded(height) };
}

/** Of the cells' `boxes` (four numbers each) those whose score is at least `least`; of several on one face the surest. */
export function chooseBoxes(boxes: ArrayLike<number>, scores: ArrayLike<number>, least: number): Find[] {
  const finds: Find[] = [];
  for (let cell = 0; cell < scores.length; cell++) {
    if (scores[cell] >= least) {
      const at = cell * 4;
      finds.push({ box: [boxes[at], boxes[at + 1], boxes[at + 2], boxes[at + 3]], score: scores[cell] });
    }
  }
  finds.sort((a, b) => b.score - a.score);
  const kept: Find[] = [];
  for (const find of finds.slice(0, MOST)) {
    if (kept.every((other) => overlap(other.box, find.box) <= SAME_IOU)) kept.push(find);
  }
  return kept;
}

export class FaceDetector {
  readonly stopwatch = new Stopwatch();

  constructor(
    private readonly session: Session,
    private readonly spec: DetectorSpec,
  ) {}

  /** Tight 68-point boxes in pixels of `picture`, the largest first; they may reach over its edges. */
  async detect(picture: Picture): Promise<Box[]> {
    return (await this.propose(picture)).filter((one) => one.sure).map((one) => one.box);
  }

  /** The boxes that `detect` gives and those of what may be faces, the largest first. */
  async propose(picture: Picture): Promise<Proposal[]> {
    const { matrix, width, height } = fitWhole(picture.width, picture.height, LONGEST, this.spec.multiple);
    const began = performance.now();
    const seen = warp(picture, matrix, width, height);
    const cropped = performance.now();
    const [boxes, scores] = await this.session.run("uint8", seen.data, [1, height, width, 3]);
    this.stopwatch.add(began, cropped, performance.now());
    const back = invert(matrix);
    const { threshold, possible } = this.spec;
    const finds = chooseBoxes(boxes.data, scores.data, possible);
    return largestFirst(finds.map(({ box, score }) => ({ box: transformBox(back, box), sure: score >= threshold })));
  }

  /** Run once on a blank picture, so that the first one is not the slowest. */
  async warmUp(): Promise<void> {
    const [width, height] = [LONGEST, Math.ceil((LONGEST * 3) / 4 / this.spec.multiple) * this.spec.multiple];
    await this.session.run("uint8", new Uint8Array(width * height * 3), [1, height, width, 3]);
  }
}

/** The face detector in an ONNX file: its address, the file or its bytes. */
export async function loadDetector(
  source: Parameters<typeof readBytes>[0],
  options: RuntimeOptions = {},
): Promise<FaceDetector> {
  const name = nameOf(source, "face detector");
  const session = await openSession(await readBytes(source), name, options);
  const detector = new FaceDetector(session, detectorFromMetadata(session.metadata, name));
  await detector.warmUp();
  return detector;
}

export function nameOf(source: Parameters<typeof readBytes>[0], otherwise: string): string {
  if (source instanceof File) return source.name;
  return typeof source === "string" || source instanceof URL ? String(source) : otherwise;
}
