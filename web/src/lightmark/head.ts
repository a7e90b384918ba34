/** The rigid part of a mean head in three dimensions: brows, nose and eyes, as in lightmark/mean_head.py. */

export type Solid = readonly [x: number, y: number, z: number];

export const RIGID_START = 17;

const LEFT_BROW: readonly Solid[] = [
  [-0.6633, -0.1569, -0.0797],
  [-0.5624, -0.2394, 0.0494],
  [-0.4242, -0.266, 0.1414],
  [-0.2833, -0.2504, 0.202],
  [-0.1501, -0.2066, 0.2352],
];
const NOSE: readonly Solid[] = [
  [0, -0.0149, 0.2643],
  [0, 0.1233, 0.3604],
  [0, 0.2578, 0.4615],
  [0, 0.3896, 0.4993],
];
const LEFT_NOSTRIL: readonly Solid[] = [
  [-0.1615, 0.4876, 0.2562],
  [-0.0852, 0.5105, 0.3034],
  [0, 0.5327, 0.327],
];
const LEFT_EYE: readonly Solid[] = [
  [-0.5, 0, 0],
  [-0.4144, -0.0481, 0.0795],
  [-0.3071, -0.0471, 0.0862],
  [-0.2154, 0.0148, 0.0646],
  [-0.3126, 0.0364, 0.0839],
  [-0.4192, 0.0362, 0.0604],
];
// Where the mirrored eye's points stand among the six of the left one.
const EYE_ORDER = [3, 2, 1, 0, 5, 4];

const mirrored = ([x, y, z]: Solid): Solid => [-x, y, z];

/** Points 17 to 47 of the 68: x to the right of the picture, y down, z to the viewer; outer eye corners 1 apart. */
export const HEAD: readonly Solid[] = [
  ...LEFT_BROW,
  ...LEFT_BROW.map(mirrored).reverse(),
  ...NOSE,
  ...LEFT_NOSTRIL,
  ...LEFT_NOSTRIL.slice(0, 2).map(mirrored).reverse(),
  ...LEFT_EYE,
  ...EYE_ORDER.map((index) => mirrored(LEFT_EYE[index])),
];
