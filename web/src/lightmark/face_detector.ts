/** FaceDetector: Lightmark's own small network for faces (lightmark/detectors/face_detector.py). */
import { LightmarkError } from "./errors";
import {
  boxAt, boxCentre, cropMatrix, invert, largestFirst, matrixScale, overlap, transform, transformBox, wrapDegrees,
  type Box, type Matrix, type Point,
} from "./geometry";
import { warp, type Picture } from "./image";
import { rollOfFeatures } from "./roll";
import { openSession, readBytes, type RuntimeOptions, type Session } from "./runtime";
import { Stopwatch } from "./stopwatch";
import { detectorFromMetadata, type DetectorSpec } from "./spec";

const LONGEST = 256; // pixels of the longer side that the network sees
const SMALLEST = 40 / 3; // pixels of the smallest faces that it was trained on
const MOST_LONGEST = 1920;
const MOST_ZOOM = 2; // of a picture: beyond it a face has no more detail to show
/** Without `minFace`: faces from this share of the largest sure find on are looked for, of any size where there is none. */
const FAR_SHARE = 1 / 4;
const FAR = 1280; // pixels of the longer side at most in that search
const WORTHWHILE = 1.35; // times LONGEST at least: less would find little that the first search did not
const FINER_STEP = 16; // that size is a multiple of it: the sides of usual pictures then get whole numbers of pixels
/** What is not sure is looked at again: upright, its longer side so many pixels of an input of this size. */
const [LOOK_FACE, LOOK_SIZE] = [80, 128];
const LOOKS = 32; // at once
/** The score that is worth a look beside what is sure, and with less than this share of its largest side. */
const [BESIDE, BESIDE_SMALL, SMALL] = [0.45, 0.6, 0.3];
const SAME_IOU = 0.4; // boxes that overlap by more are one face, found twice
/** A face's box is the mean of those that overlap the surest by this, and have this share of its score, by score. */
const [BLEND_IOU, BLEND_SCORE] = [0.7, 0.8];
const MOST = 400; // finds a picture that are looked at, surest first
const KEYPOINTS = 5; // eye centres, nose tip, mouth corners; the person's right before the left

export interface Find {
  readonly box: Box;
  readonly score: number;
  /** Roll in degrees, counter-clockwise. */
  readonly roll: number;
}

/** A box that may frame a face; whether the detector is sure of it, or of none and a landmark model is to judge. */
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
  boxes: ArrayLike<number>, scores: ArrayLike<number>, keypoints: ArrayLike<number>, least: number,
): Find[] {
  const finds: Find[] = [];
  for (let cell = 0; cell < scores.length; cell++) {
    if (scores[cell] < least) continue;
    const at = cell * 4;
    const box: Box = [boxes[at], boxes[at + 1], boxes[at + 2], boxes[at + 3]];
    finds.push({ box, score: scores[cell], roll: rollOfCell(keypoints, cell) });
  }
  return finds;
}

const longerSide = ([x0, y0, x1, y1]: Box): number => Math.max(x1 - x0, y1 - y0);

function rollOfCell(keypoints: ArrayLike<number>, cell: number): number {
  const at = (keypoint: number): Point => {
    const start = (cell * KEYPOINTS + keypoint) * 2;
    return [keypoints[start], keypoints[start + 1]];
  };
  return rollOfFeatures(at(0), at(1), at(3), at(4));
}

/** The face `box` of a picture by the finds of its look, which `matrix` cut: none if they show none there. */
function seenAt({ box, roll }: Find, matrix: Matrix, finds: readonly Find[]): Find[] {
  const zoom = matrixScale(matrix);
  const expected = boxAt([(LOOK_SIZE - 1) / 2, (LOOK_SIZE - 1) / 2], box, zoom);
  const find = finds.find((one) => overlap(expected, one.box) > SAME_IOU);
  if (!find) return [];
  const centre = transform(invert(matrix), boxCentre(find.box));
  return [{ ...find, box: boxAt(centre, find.box, 1 / zoom), roll: wrapDegrees(find.roll + roll) }];
}

type Scored = Pick<Find, "box" | "score">;

/** Of several finds on one face the surest. */
export function suppress<T extends Scored>(found: readonly T[]): T[] {
  return clusters(found).map(({ best }) => best);
}

/** The surest find on each face, with those that are left beside the surer faces, itself the first, and their overlaps. */
function clusters<T extends Scored>(found: readonly T[]): { best: T; left: readonly T[]; shares: readonly number[] }[] {
  const faces = [];
  let left = [...found].sort((a, b) => b.score - a.score).slice(0, MOST);
  while (left.length) {
    const best = left[0];
    const shares = left.map((other) => (other === best ? 1 : overlap(best.box, other.box)));
    faces.push({ best, left, shares });
    left = left.filter((_, index) => shares[index] <= SAME_IOU);
  }
  return faces;
}

/** The surest of several finds on one face, in the mean box of those that are nearly as sure and nearly at its place. */
export function blend(found: readonly Find[]): Find[] {
  return clusters(found).map(({ best, left, shares }) => {
    const near = left.filter(({ score }, index) => shares[index] >= BLEND_IOU && score >= BLEND_SCORE * best.score);
    const sum = near.reduce((total, { score }) => total + score, 0);
    const side = (at: number): number => near.reduce((total, { box, score }) => total + score * box[at], 0) / sum;
    return { ...best, box: [side(0), side(1), side(2), side(3)] };
  });
}

/**
 * Pixels of the longer side at which a picture is searched a second time, for faces from `minFace` on; null for not at all.
 * `largest` is the side of the largest face that the first search is sure of, 0 where it is sure of none.
 */
export function finerInput(width: number, height: number, minFace: number | null, largest: number): number | null {
  const longer = Math.max(width, height);
  if (minFace === null) {
    const needed = Math.min(FAR, (SMALLEST * longer) / (FAR_SHARE * largest));
    const finer = Math.min(longer, Math.floor(needed / FINER_STEP) * FINER_STEP);
    return finer >= WORTHWHILE * LONGEST ? finer : null;
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
   * 1/19 of that side, less beside small faces or none. For smaller ones the picture is searched at a larger size, too.
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
   * The boxes that `detect` gives, where there is none those of what may be faces, the largest first; as if there were
   * nothing at the places of `denied`.
   */
  async propose(picture: Picture, denied: readonly Box[] = []): Promise<Proposal[]> {
    const allowed = ({ box }: Find): boolean => denied.every((other) => overlap(other, box) <= SAME_IOU);
    const finds = await this.lookAgain(picture, await this.finds(picture, allowed));
    const proposals = largestFirst(finds.filter(allowed).map(({ box, score, roll }) => ({ box, sure: this.isSure(score), roll })));
    return proposals.some(({ sure }) => sure) ? proposals.filter(({ sure }) => sure) : proposals;
  }

  private isSure(score: number): boolean {
    return score >= this.spec.threshold;
  }

  /** What may be faces in `picture`, by a score of at least `possible`, where it is `allowed`. */
  private async finds(picture: Picture, allowed: (find: Find) => boolean): Promise<Find[]> {
    const finds = (await this.search(picture, LONGEST)).filter(allowed);
    const largest = Math.max(0, ...finds.map(({ box, score }) => (this.isSure(score) ? longerSide(box) : 0)));
    const finer = finerInput(picture.width, picture.height, this.minFace, largest);
    if (finer !== null) finds.push(...(await this.search(picture, finer)).filter(allowed));
    return suppress(finds);
  }

  /** `found`; what is not sure as a second look shows it, without what that misses. */
  private async lookAgain(picture: Picture, found: readonly Find[]): Promise<Find[]> {
    const sure = found.filter(({ score }) => this.isSure(score));
    const smallest = SMALL * Math.max(0, ...sure.map(({ box }) => longerSide(box)));
    const least = (box: Box): number => (longerSide(box) < smallest ? BESIDE_SMALL : BESIDE);
    const worth = ({ box, score }: Find): boolean => !this.isSure(score) && (!sure.length || score >= least(box));
    const seen = await this.look(picture, found.filter(worth));
    // What is seen of a face that is sure already is the worse view of it, whatever its score.
    const others = seen.filter((find) => sure.every(({ box }) => overlap(box, find.box) <= SAME_IOU));
    return [...sure, ...suppress(others)];
  }

  /** Those of `found` that an input of their own shows, as it shows them upright. */
  private async look(picture: Picture, found: readonly Find[]): Promise<Find[]> {
    const seen: Find[] = [];
    for (let start = 0; start < found.length; start += LOOKS) {
      const faces = found.slice(start, start + LOOKS);
      const matrices = faces.map(({ box, roll }) => cropMatrix(box, LOOK_SIZE, LOOK_SIZE / LOOK_FACE, -roll));
      const finds = await this.seen(picture, matrices, LOOK_SIZE, LOOK_SIZE);
      seen.push(...faces.flatMap((face, index) => seenAt(face, matrices[index], finds[index])));
    }
    return seen;
  }

  /** The same at one size: `longest` pixels of the longer side. */
  private async search(picture: Picture, longest: number): Promise<Find[]> {
    const { matrix, width, height } = fitWhole(picture.width, picture.height, longest, this.spec.multiple);
    const back = invert(matrix);
    const [finds] = await this.seen(picture, [matrix], width, height);
    return finds.map((find) => ({ ...find, box: transformBox(back, find.box) }));
  }

  /** What may be faces, surest first, in the pixels of each of the inputs that `matrices` cut from `picture`. */
  private async seen(picture: Picture, matrices: readonly Matrix[], width: number, height: number): Promise<Find[][]> {
    const began = performance.now();
    const inputs = new Uint8Array(matrices.length * width * height * 3);
    matrices.forEach((matrix, index) => {
      inputs.set(warp(picture, matrix, width, height).data, index * width * height * 3);
    });
    const cropped = performance.now();
    const outputs = await this.session.run("uint8", inputs, [matrices.length, height, width, 3]);
    this.stopwatch.add(began, cropped, performance.now());
    return matrices.map((_, index) => {
      const [boxes, scores, keypoints] = outputs.map(({ data }) => {
        const cells = data.length / matrices.length;
        return data.subarray(index * cells, (index + 1) * cells);
      });
      return blend(findsOf(boxes, scores, keypoints, this.spec.possible));
    });
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
