/** FaceDetector: Lightmark's own small network for faces (lightmark/detectors/face_detector.py). */
import { LightmarkError } from "./errors";
import { compose, invert, largestFirst, overlap, transform, transformBox, wrapDegrees, type Box, type Matrix, type Point } from "./geometry";
import { warp, type Picture } from "./image";
import { rollOfFeatures } from "./roll";
import { openSession, readBytes, type RuntimeOptions, type Session } from "./runtime";
import { Stopwatch } from "./stopwatch";
import { detectorFromMetadata, type DetectorSpec } from "./spec";

const LONGEST = 320; // pixels of the longer side that the network sees
const SMALLEST = 320 / 24; // pixels of the smallest faces that it was trained on
const MOST_LONGEST = 1920;
const MOST_ZOOM = 2; // of a picture: beyond it a face has no more detail to show
/** A picture larger than this, without a face of at least NEAR of its longer side, is searched at up to FAR pixels, too. */
const LARGE = 960;
const NEAR = 1 / 6;
const FAR = 800;
const SAME_IOU = 0.4; // boxes that overlap by more are one face, found twice
const MOST = 400; // finds a picture that are looked at, surest first
/** Quarter turns counter-clockwise in which a picture is searched, too: heads lie on their side more often than upside down. */
const TURNS = [1, 3, 2];
const KEYPOINTS = 5; // eye centres, nose tip, mouth corners; the person's right before the left

export interface Find {
  readonly box: Box;
  readonly score: number;
  /** Roll in degrees, counter-clockwise; null where the file has no key points. */
  readonly roll: number | null;
}

/** A box that may frame a face; whether the detector is sure of it, or a landmark model is to judge. */
export interface Proposal {
  readonly box: Box;
  readonly sure: boolean;
  readonly roll: number | null;
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

/** What the network's cells found: `boxes` (four numbers each) and `keypoints`, where the score is at least `least`. */
export function findsOf(
  boxes: ArrayLike<number>, scores: ArrayLike<number>, keypoints: ArrayLike<number> | null, least: number,
): Find[] {
  const finds: Find[] = [];
  for (let cell = 0; cell < scores.length; cell++) {
    if (scores[cell] < least) continue;
    const at = cell * 4;
    const box: Box = [boxes[at], boxes[at + 1], boxes[at + 2], boxes[at + 3]];
    finds.push({ box, score: scores[cell], roll: keypoints && rollOfCell(keypoints, cell) });
  }
  return finds;
}

function rollOfCell(keypoints: ArrayLike<number>, cell: number): number {
  const at = (keypoint: number): Point => {
    const start = (cell * KEYPOINTS + keypoint) * 2;
    return [keypoints[start], keypoints[start + 1]];
  };
  return rollOfFeatures(at(0), at(1), at(3), at(4));
}

/** Of several finds on one face the surest. */
export function suppress<T extends Pick<Find, "box" | "score">>(found: readonly T[]): T[] {
  const finds = [...found].sort((a, b) => b.score - a.score);
  const kept: T[] = [];
  for (const find of finds.slice(0, MOST)) {
    if (kept.every((other) => overlap(other.box, find.box) <= SAME_IOU)) kept.push(find);
  }
  return kept;
}

/**
 * Pixels of the longer side at which a picture is searched a second time, for faces from `minFace` on; null for not at all.
 * `largest` is the side of the largest face that the first search is sure of.
 */
export function finerInput(width: number, height: number, minFace: number | null, largest: number): number | null {
  const longer = Math.max(width, height);
  if (minFace === null) {
    const finer = longer > LARGE && largest < NEAR * longer ? Math.min(FAR, longer) : 0;
    return finer > LONGEST ? finer : null;
  }
  if (!(minFace > 0 && minFace < Infinity)) {
    throw new LightmarkError(`smallest face ${minFace}: needs pixels, or a share below 1 of the picture's longer side`);
  }
  const share = minFace < 1 ? minFace : minFace / longer;
  const finer = Math.min(Math.ceil(SMALLEST / share), MOST_LONGEST, MOST_ZOOM * longer);
  return finer > LONGEST ? finer : null;
}

export class FaceDetector {
  readonly stopwatch = new Stopwatch();

  /**
   * `minFace` is the smallest face to look for, in pixels or, below 1, as a share of the picture's longer side; null: about
   * 1/24 of that side, less in large pictures. For smaller ones the picture is searched at a larger size, too.
   */
  constructor(
    private readonly session: Session,
    private readonly spec: DetectorSpec,
    public minFace: number | null = null,
  ) {}

  /** Tight 68-point boxes in pixels of `picture`, the largest first; they may reach over its edges. */
  async detect(picture: Picture): Promise<Box[]> {
    return (await this.propose(picture)).filter((one) => one.sure).map((one) => one.box);
  }

  /**
   * The boxes that `detect` gives and those of what may be faces, the largest first. A file without key points, which was
   * trained on upright faces, also searches the turned picture where it is sure of nothing; then it is sure of nothing there
   * either, since more searches find more that is no face.
   */
  async propose(picture: Picture): Promise<Proposal[]> {
    const proposals = this.proposalsOf(await this.finds(picture, this.spec.possible));
    if (proposals.some(({ sure, roll }) => sure || roll !== null)) return proposals;
    const turned = await this.proposeTurned(picture);
    return largestFirst([...proposals, ...turned].map((one) => ({ ...one, sure: false })));
  }

  /** What the copy of `picture` turned by a quarter or a half shows that shows most that is sure; else what it proposes. */
  async proposeTurned(picture: Picture): Promise<Proposal[]> {
    let most: Proposal[] = [];
    const sureOf = (proposals: readonly Proposal[]): Proposal[] => proposals.filter(({ sure }) => sure);
    for (const quarters of TURNS) {
      const proposals = this.proposalsOf(await this.finds(picture, this.likely, quarters));
      const more = sureOf(proposals).length - sureOf(most).length;
      if (more > 0 || (more === 0 && proposals.length > most.length)) most = proposals;
    }
    return sureOf(most).length ? sureOf(most) : most;
  }

  /** A score between those of what is possible and what is sure, for searches of which most find nothing. */
  private get likely(): number {
    return (this.spec.threshold + this.spec.possible) / 2;
  }

  private proposalsOf(finds: readonly Find[]): Proposal[] {
    return largestFirst(finds.map(({ box, score, roll }) => ({ box, sure: score >= this.spec.threshold, roll })));
  }

  /** What may be faces in `picture`, by a score of at least `least`, seen after so many `quarters` of a turn. */
  private async finds(picture: Picture, least: number, quarters = 0): Promise<Find[]> {
    const { threshold } = this.spec;
    const finds = await this.search(picture, LONGEST, least, quarters);
    const sides = finds.map(({ box, score }) => (score >= threshold ? Math.max(box[2] - box[0], box[3] - box[1]) : 0));
    const finer = finerInput(picture.width, picture.height, this.minFace, Math.max(0, ...sides));
    // Where nobody asked for small faces: in so many more places, what is hardly likely is hardly ever a face.
    const leastFiner = this.minFace === null ? Math.max(least, this.likely) : least;
    if (finer !== null) finds.push(...(await this.search(picture, finer, leastFiner, quarters)));
    return suppress(finds);
  }

  /** The same at one size: `longest` pixels of the longer side. */
  private async search(picture: Picture, longest: number, least: number, quarters: number): Promise<Find[]> {
    const across = quarters % 2 === 1;
    const [columns, rows] = across ? [picture.height, picture.width] : [picture.width, picture.height];
    const { matrix, width, height } = fitWhole(columns, rows, longest, this.spec.multiple);
    const turn = turnMatrix(picture, quarters);
    const began = performance.now();
    const seen = warp(picture, quarters ? compose(matrix, turn) : matrix, width, height);
    const cropped = performance.now();
    const [boxes, scores, keypoints] = await this.session.run("uint8", seen.data, [1, height, width, 3]);
    this.stopwatch.add(began, cropped, performance.now());
    const finds = suppress(findsOf(boxes.data, scores.data, keypoints?.data ?? null, least));
    return finds.map((find) => {
      const box = transformBox(invert(matrix), find.box);
      if (!quarters) return { ...find, box };
      const roll = wrapDegrees((find.roll ?? 0) - 90 * quarters);
      return { ...find, box: turnedBack(box, turn), roll };
    });
  }

  /** Run once on a blank picture, so that the first one is not the slowest. */
  async warmUp(): Promise<void> {
    const [width, height] = [LONGEST, Math.ceil((LONGEST * 3) / 4 / this.spec.multiple) * this.spec.multiple];
    await this.session.run("uint8", new Uint8Array(width * height * 3), [1, height, width, 3]);
  }
}

/** Matrix from `picture` to its copy turned by `quarters` counter-clockwise. */
export function turnMatrix({ width, height }: Pick<Picture, "width" | "height">, quarters: number): Matrix {
  if (quarters === 1) return [0, 1, 0, -1, 0, width - 1];
  if (quarters === 2) return [-1, 0, width - 1, 0, -1, height - 1];
  return quarters === 3 ? [0, -1, height - 1, 1, 0, 0] : [1, 0, 0, 0, 1, 0];
}

/** `box` of the copy that `turn` makes, at its place in the picture; its sides lie along the face, so they keep their lengths. */
function turnedBack([x0, y0, x1, y1]: Box, turn: Matrix): Box {
  const [x, y] = transform(invert(turn), [(x0 + x1) / 2, (y0 + y1) / 2]);
  const [right, down] = [(x1 - x0) / 2, (y1 - y0) / 2];
  return [x - right, y - down, x + right, y + down];
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
