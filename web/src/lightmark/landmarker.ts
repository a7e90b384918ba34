/** Landmarker: boxes of a picture in, faces out (lightmark/landmarker.py). */
import { LightmarkError } from "./errors";
import { nameOf } from "./face_detector";
import { boxAround, cropMatrix, invert, matrixScale, requireBox, transform, type Box, type Matrix, type Point } from "./geometry";
import { warp, type Crop, type Picture } from "./image";
import { headPose, type Pose } from "./pose";
import { openSession, readBytes, type Output, type RuntimeOptions, type Session } from "./runtime";
import { Stopwatch } from "./stopwatch";
import { cropBytes, normaliseCrops, specFromMetadata, type ModelSpec } from "./spec";

const BATCH = 32; // crops that run at once: a crowd costs time, not memory

/** Landmarks in image pixels and the 68-point box they were sought in; what a model does not tell is null. */
export interface Face {
  readonly points: readonly Point[];
  readonly box: Box;
  /** By how many pixels each point is to be expected to be off. */
  readonly expected_error: readonly number[] | null;
  /** Probability that the box frames a face. */
  readonly confidence: number | null;
  readonly pose: Pose | null;
  /** The face's box by its points, where that is not their tight box: a model of other points has it from its spec. */
  readonly next?: Box;
}

export class Landmarker {
  readonly stopwatch = new Stopwatch();

  constructor(
    private readonly session: Session,
    readonly spec: ModelSpec,
    private readonly name: string,
  ) {}

  /** One face a box, in the boxes' order. */
  async landmarks(picture: Picture, boxes: readonly Box[]): Promise<Face[]> {
    const { spec } = this;
    const began = performance.now();
    const matrices = boxes.map((box) => cropMatrix(requireBox(box), spec.size, spec.cropScale));
    const crops = matrices.map((matrix) => warp(picture, matrix, spec.size, spec.size));
    const cropped = performance.now();
    const most = this.session.input.batch ?? BATCH;
    const faces: Face[] = [];
    for (let start = 0; start < boxes.length; start += most) {
      const outputs = await this.run(crops.slice(start, start + most));
      for (let index = start; index < Math.min(start + most, boxes.length); index++) {
        faces.push(this.face(outputs, index - start, matrices[index], boxes[index]));
      }
    }
    this.stopwatch.add(began, cropped, performance.now());
    return faces;
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

  private face([points, errors, presence]: Output[], index: number, matrix: Matrix, box: Box): Face {
    const { size, schema, template, boxMap } = this.spec;
    const back = invert(matrix);
    const start = index * schema.size;
    const found = Array.from({ length: schema.size }, (_, point): Point => {
      const at = (start + point) * 2;
      return transform(back, [points.data[at] * size - 0.5, points.data[at + 1] * size - 0.5]);
    });
    const pixels = size / matrixScale(matrix);
    return {
      points: found,
      box,
      expected_error: errors ? Array.from(errors.data.subarray(start, start + schema.size), (error) => error * pixels) : null,
      confidence: presence ? presence.data[index] : null,
      pose: headPose(found, schema),
      ...(template && { next: boxAround(template, found, box, boxMap) }),
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
