/** Landmarker: boxes of a picture in, faces out (lightmark/landmarker.py). */
import { LightmarkError } from "./errors";
import { nameOf } from "./face_detector";
import {
  boxAround, cropMatrix, invert, matrixScale, requireBox, transform, uprightBox, wrapDegrees, type Box, type Matrix, type Point,
} from "./geometry";
import { warp, type Crop, type Picture } from "./image";
import { headPose, type Pose } from "./pose";
import { faceRoll, heldRoll, STEEP_ROLL } from "./roll";
import { openSession, readBytes, type Output, type RuntimeOptions, type Session } from "./runtime";
import { Stopwatch } from "./stopwatch";
import { cropBytes, normaliseCrops, specFromMetadata, type ModelSpec } from "./spec";

const BATCH = 32; // crops that run at once: a crowd costs time, not memory

const SURE = 0.99; // confidence of every upright face (lightmark/landmarker.py)
/** What is only proposed, or an answer that a turned crop began, needs this confidence: more looks, more mistakes. */
export const CONFIRMED = 0.98;
/** Below this confidence even what the detector is sure of is no face (lightmark/landmarker.py). */
export const DENIED = 0.1;
const LIKELY = 0.5; // a confidence from here on is more likely a face's than not
const QUARTERS = [90, 180, -90];

/** Landmarks in image pixels and the 68-point box they were sought in; what a model does not tell is null. */
export interface Face {
  readonly points: readonly Point[];
  readonly box: Box;
  /** By how many pixels each point is to be expected to be off. */
  readonly expected_error: readonly number[] | null;
  /** Probability that the box frames a face. */
  readonly confidence: number | null;
  readonly pose: Pose | null;
}

/** Where a face is to be looked for next: its box along its own axes, and its roll in degrees. */
export interface Place {
  readonly box: Box;
  readonly roll: number;
}

/** A face's box; `roll` in degrees is what it is, or a first guess. */
interface Request extends Place {
  readonly guessed: boolean;
}

/** What the model says of a crop with this `roll` taken out; the confidence is 1 where it tells none. */
interface Answer {
  readonly face: Omit<Face, "box" | "pose">;
  readonly roll: number;
  readonly confidence: number;
}

export class Landmarker {
  readonly stopwatch = new Stopwatch();

  constructor(
    private readonly session: Session,
    readonly spec: ModelSpec,
    private readonly name: string,
  ) {}

  /**
   * One face a box, in the boxes' order. `angles` are the faces' roll in degrees, counter-clockwise: such a box lies along
   * its face's axes, turned about its centre. Where one is missing, it is found.
   */
  async landmarks(picture: Picture, boxes: readonly Box[], angles: readonly (number | null)[] = []): Promise<Face[]> {
    const known = boxes.map((box, index): Request => {
      const roll = angles[index] ?? null;
      return { box: requireBox(box), roll: roll ?? 0, guessed: roll === null };
    });
    return this.faces(picture, known);
  }

  /** One face a guess, in their order. */
  confirm(picture: Picture, guesses: readonly Place[]): Promise<Face[]> {
    return this.faces(picture, guesses.map((guess) => ({ ...guess, box: requireBox(guess.box), guessed: true })));
  }

  private async faces(picture: Picture, requests: Request[]): Promise<Face[]> {
    const firsts = await this.answers(picture, requests);
    const upright = await this.upright(picture, requests, firsts);
    return requests.map(({ box }, index) => {
      const { face } = upright[index];
      return { ...face, box, pose: headPose(face.points, this.spec.schema) };
    });
  }

  /** Where to look for `face` next, if its crop is turned by `held`: see `heldRoll`. */
  placeOf({ points, box }: Face, held = 0): Place {
    const roll = heldRoll(held, faceRoll(this.spec, points));
    return { box: this.boxOf(points, box, roll), roll };
  }

  private boxOf(points: readonly Point[], near: Box, roll: number): Box {
    const { template, boxMap } = this.spec;
    return template ? boxAround(template, points, near, boxMap) : uprightBox(points, roll);
  }

  /** Answers from crops in which the faces are upright; `firsts` where they are, or the model sees a face nowhere. */
  private async upright(picture: Picture, requests: Request[], firsts: Answer[]): Promise<Answer[]> {
    const turned = await this.turned(picture, requests, firsts);
    const seconds = await this.aligned(picture, requests, turned);
    return firsts.map((first, index) => {
      const second = seconds[index];
      const least = turned[index] === first ? LIKELY : CONFIRMED;
      return second.confidence >= Math.max(Math.min(first.confidence, SURE), least) ? second : first;
    });
  }

  /** The most confident answers of all quarter turns, for those of `firsts` of which the model is not sure. */
  private async turned(picture: Picture, requests: Request[], firsts: Answer[]): Promise<Answer[]> {
    const best = [...firsts];
    const unsure = [...firsts.keys()].filter(
      (index) => requests[index].guessed && firsts[index].confidence < SURE,
    );
    const turns = QUARTERS.flatMap((turn) =>
      unsure.map((index) => ({ ...requests[index], roll: requests[index].roll + turn })),
    );
    (await this.answers(picture, turns)).forEach((answer, number) => {
      const index = unsure[number % unsure.length];
      if (answer.confidence > best[index].confidence) best[index] = answer;
    });
    return best;
  }

  /** Second answers where a face is rolled by more than `STEEP_ROLL`, in the picture or in its crop, or the crop was turned. */
  private async aligned(picture: Picture, requests: Request[], answers: Answer[]): Promise<Answer[]> {
    const best = [...answers];
    const again = requests.flatMap((request, index) => {
      const crop = request.guessed ? this.alignedCrop(request, answers[index]) : null;
      return crop ? [{ index, crop }] : [];
    });
    const seconds = await this.answers(picture, again.map(({ crop }) => crop));
    again.forEach(({ index }, number) => {
      const second = seconds[number];
      if (second.confidence >= Math.min(best[index].confidence, SURE)) best[index] = second;
    });
    return best;
  }

  private alignedCrop(request: Request, { face, roll }: Answer): Request | null {
    const own = faceRoll(this.spec, face.points);
    const steep = [0, roll].some((other) => Math.abs(wrapDegrees(own - other)) > STEEP_ROLL);
    if (roll === request.roll && !steep) return null;
    const box = this.boxOf(face.points, request.box, own);
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    const usable = Math.min(width, height) > 0 && Math.max(width, height) >= 1 && Number.isFinite(width + height);
    return usable ? { ...request, box, roll: own } : null;
  }

  /** What the model says of the crop of each of `requests`. */
  private async answers(picture: Picture, requests: readonly Request[]): Promise<Answer[]> {
    const { spec } = this;
    const began = performance.now();
    const matrices = requests.map(({ box, roll }) => cropMatrix(box, spec.size, spec.cropScale, 0 - roll));
    const crops = matrices.map((matrix) => warp(picture, matrix, spec.size, spec.size));
    const cropped = performance.now();
    const most = this.session.input.batch ?? BATCH;
    const answers: Answer[] = [];
    for (let start = 0; start < requests.length; start += most) {
      const outputs = await this.run(crops.slice(start, start + most));
      for (let index = start; index < Math.min(start + most, requests.length); index++) {
        const face = this.face(outputs, index - start, matrices[index]);
        answers.push({ face, roll: requests[index].roll, confidence: face.confidence ?? 1 });
      }
    }
    if (requests.length) this.stopwatch.add(began, cropped, performance.now());
    return answers;
  }

  /** Run once on a blank crop: a model that contradicts its spec shows now, and the first picture is not the slowest. */
  async warmUp(): Promise<void> {
    const { size } = this.spec;
    await this.run([{ width: size, height: size, data: new Uint8Array(size * size * 3) }]);
  }

  release(): Promise<void> {
    return this.session.release();
  }

  private async run(crops: readonly Crop[]): Promise<Output[]> {
    const { size, schema, confidence } = this.spec;
    const bytes = this.session.input.type === "uint8";
    const outputs = bytes
      ? await this.session.run("uint8", cropBytes(crops), [crops.length, size, size, 3])
      : await this.session.run("float32", normaliseCrops(crops, this.spec), [crops.length, 3, size, size]);
    const count = crops.length;
    const wanted = [count * schema.size * 2, count * schema.size, count].slice(0, confidence ? 3 : 1);
    if (outputs.length !== wanted.length || outputs.some(({ data }, index) => data.length !== wanted[index])) {
      throw new LightmarkError(`${this.name} gives other outputs than its ModelSpec says; export it again.`);
    }
    return outputs;
  }

  private face([points, errors, confidence]: Output[], index: number, matrix: Matrix): Answer["face"] {
    const { size, schema } = this.spec;
    const back = invert(matrix);
    const start = index * schema.size;
    const found = Array.from({ length: schema.size }, (_, point): Point => {
      const at = (start + point) * 2;
      return transform(back, [points.data[at] * size - 0.5, points.data[at + 1] * size - 0.5]);
    });
    const pixels = size / matrixScale(matrix);
    return {
      points: found,
      expected_error: errors ? Array.from(errors.data.subarray(start, start + schema.size), (error) => error * pixels) : null,
      confidence: confidence ? confidence.data[index] : null,
    };
  }
}

/** The landmark model in an ONNX file that `lightmark export` wrote: its address, the file or its bytes. */
export async function loadLandmarker(
  source: Parameters<typeof readBytes>[0],
  options: RuntimeOptions = {},
): Promise<Landmarker> {
  const name = nameOf(source, "model");
  const session = await openSession(await readBytes(source), name, options);
  const landmarker = new Landmarker(session, specFromMetadata(session.metadata, name), name);
  await landmarker.warmUp();
  return landmarker;
}
