// src/lightmark/errors.ts
/** Everything that Lightmark raises on purpose; its message is written for the person who chose the file. */
var LightmarkError = class extends Error {
	name = "LightmarkError";
};
// src/lightmark/geometry.ts
/**
* Boxes, 2×3 matrices and overlaps: the one coordinate law, as in lightmark/geometry.py.
*
* Points are x then y, pixel centres at integers: pixel i covers [i − 0.5, i + 0.5]. A box is [x0, y0, x1, y1], the
* smallest and largest coordinate of the points in it. A matrix moves image points to crop points.
*/
var DEGREES$1 = 180 / Math.PI;
/** Smallest box around points. */
function tightBox(points) {
	let [x0, y0, x1, y1] = [
		Infinity,
		Infinity,
		-Infinity,
		-Infinity
	];
	for (const [x, y] of points) {
		x0 = Math.min(x0, x);
		y0 = Math.min(y0, y);
		x1 = Math.max(x1, x);
		y1 = Math.max(y1, y);
	}
	return [
		x0,
		y0,
		x1,
		y1
	];
}
/**
* Box of a rolled face: the size of its upright tight box, about that box's centre in the picture. A crop about it,
* turned by −`roll` degrees, is that of the upright face.
*/
function uprightBox(points, roll) {
	if (roll === 0) return tightBox(points);
	const origin = [0, 0];
	const upright = similarityMatrix(origin, origin, 1, -roll);
	const box = tightBox(points.map((point) => transform(upright, point)));
	return boxAt(transform(similarityMatrix(origin, origin, 1, roll), boxCentre(box)), box);
}
function boxCentre([x0, y0, x1, y1]) {
	return [(x0 + x1) / 2, (y0 + y1) / 2];
}
/** Box about the point with the sides of `box` times `zoom`. */
function boxAt([x, y], [x0, y0, x1, y1], zoom = 1) {
	const [right, down] = [(x1 - x0) * zoom / 2, (y1 - y0) * zoom / 2];
	return [
		x - right,
		y - down,
		x + right,
		y + down
	];
}
/** `angle` in degrees as the same direction in [−180, 180). */
function wrapDegrees(angle) {
	const turned = (angle + 180) % 360;
	return turned < 0 ? turned + 180 : turned - 180;
}
/** `box` itself; throws where it is empty, reversed or not finite. */
function requireBox(box) {
	if (box.length !== 4 || !box.every(Number.isFinite)) throw new LightmarkError(`box [${box.join(", ")}]: needs four finite numbers x0, y0, x1, y1`);
	if (box[2] <= box[0] || box[3] <= box[1]) throw new LightmarkError(`box [${box.join(", ")}]: x1 must exceed x0 and y1 exceed y0`);
	return box;
}
var MOST_MOVE = .5;
/**
* Square box whose `template` (places in shares of its side from its centre), by least squares, lies on `points`, moved
* by `boxMap` as the points lie beside the template (lightmark/spec.py, box_around). Points in one place do not say how
* large the face is: it is as large as `near`.
*/
function boxAround(template, points, near, boxMap = null) {
	const [from, to] = [meanOf(template), meanOf(points)];
	let [cos, sin] = turnOf(template, points);
	const known = Math.hypot(cos, sin) > 0;
	if (!known) [cos, sin] = [Math.max(near[2] - near[0], near[3] - near[1]), 0];
	const matrix = [
		cos,
		-sin,
		to[0] - (cos * from[0] - sin * from[1]),
		sin,
		cos,
		to[1] - (sin * from[0] + cos * from[1])
	];
	const [right, down, growth] = known && boxMap ? shifts(boxMap, template, points, invert(matrix)) : [
		0,
		0,
		0
	];
	const [x, y] = transform(matrix, [right, down]);
	const half = Math.hypot(cos, sin) * Math.exp(growth) / 2;
	return [
		x - half,
		y - half,
		x + half,
		y + half
	];
}
/** Cosine and sine, times the zoom, of the least-squares similarity from `template` to `points`; zeros in one place. */
function turnOf(template, points) {
	const [from, to] = [meanOf(template), meanOf(points)];
	let [real, imaginary, energy] = [
		0,
		0,
		0
	];
	template.forEach(([x, y], index) => {
		const [ax, ay] = [x - from[0], y - from[1]];
		const [bx, by] = [points[index][0] - to[0], points[index][1] - to[1]];
		real += ax * bx + ay * by;
		imaginary += ax * by - ay * bx;
		energy += ax * ax + ay * ay;
	});
	return energy > 0 ? [real / energy, imaginary / energy] : [0, 0];
}
/** What `boxMap` makes of the points' moves from the template, in whose frame `back` lays them. */
function shifts(boxMap, template, points, back) {
	const moves = points.map((point, index) => {
		const [x, y] = transform(back, point);
		return [x - template[index][0], y - template[index][1]];
	});
	return boxMap.map((weights) => {
		const sum = weights.reduce((total, [x, y], index) => total + x * moves[index][0] + y * moves[index][1], 0);
		return Math.min(Math.max(sum, -.5), MOST_MOVE);
	});
}
function meanOf(points) {
	const sum = points.reduce(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
	return [sum[0] / points.length, sum[1] / points.length];
}
/** Intersection over union of two boxes. */
function overlap(first, second) {
	const width = Math.min(first[2], second[2]) - Math.max(first[0], second[0]);
	const height = Math.min(first[3], second[3]) - Math.max(first[1], second[1]);
	const shared = Math.max(width, 0) * Math.max(height, 0);
	return shared / (area(first) + area(second) - shared);
}
function area(box) {
	return (box[2] - box[0]) * (box[3] - box[1]);
}
/** Boxes by their area; equally large ones from left to right, then from top to bottom. */
function largestFirst(finds) {
	return [...finds].sort(({ box: a }, { box: b }) => area(b) - area(a) || a[0] - b[0] || a[1] - b[1]);
}
/**
* Matrix from image pixels to the `size`×`size` crop around `box`: a square about its centre, its side `scale` times the
* box's longer side, turned by `angle` degrees (positive turns the picture's content counter-clockwise as displayed).
* The square's edges fall on the outer edges of the crop's border pixels.
*/
function cropMatrix(box, size, scale, angle = 0) {
	const [x0, y0, x1, y1] = requireBox(box);
	const zoom = size / (scale * Math.max(x1 - x0, y1 - y0));
	const middle = (size - 1) / 2;
	return similarityMatrix([(x0 + x1) / 2, (y0 + y1) / 2], [middle, middle], zoom, angle);
}
/** Matrix that brings `centre` to `place`, enlarged by `zoom`, the content turned counter-clockwise by `angle` degrees. */
function similarityMatrix(centre, place, zoom, angle) {
	const [cos, sin] = [zoom * Math.cos(angle / DEGREES$1), zoom * Math.sin(angle / DEGREES$1)];
	const [x, y] = centre;
	return [
		cos,
		sin,
		place[0] - cos * x - sin * y,
		0 - sin,
		cos,
		place[1] + sin * x - cos * y
	];
}
/** Matrix that applies `inner` first, then `outer`. */
function compose(outer, inner) {
	const [a, b, c, d, e, f] = outer;
	const [p, q, r, s, t, u] = inner;
	return [
		a * p + b * s,
		a * q + b * t,
		a * r + b * u + c,
		d * p + e * s,
		d * q + e * t,
		d * r + e * u + f
	];
}
/** Throws for a matrix that is singular. */
function invert(matrix) {
	const [a, b, c, d, e, f] = matrix;
	const determinant = a * e - b * d;
	if (!(Math.abs(determinant) > 0 && Number.isFinite(determinant))) throw new LightmarkError(`matrix [${matrix.join(", ")}] has no inverse: it flattens the plane`);
	const [p, q, s, t] = [
		e / determinant,
		-b / determinant,
		-d / determinant,
		a / determinant
	];
	return [
		p,
		q,
		-(p * c + q * f),
		s,
		t,
		-(s * c + t * f)
	];
}
function transform(matrix, [x, y]) {
	return [matrix[0] * x + matrix[1] * y + matrix[2], matrix[3] * x + matrix[4] * y + matrix[5]];
}
/** `box` moved by a matrix that neither turns nor mirrors. */
function transformBox(matrix, [x0, y0, x1, y1]) {
	return [...transform(matrix, [x0, y0]), ...transform(matrix, [x1, y1])];
}
/** Factor by which lengths grow under a similarity matrix. */
function matrixScale([a, b, , d, e]) {
	return Math.sqrt(Math.abs(a * e - b * d));
}
// src/lightmark/image.ts
/** The one warp that cuts crops of a picture, as lightmark/image.py does with OpenCV. */
var FRACTION_BITS = 5;
var FRACTIONS = 32;
var FINE = 1024;
var STEP_BITS = 5;
var HALF_STEP = 16;
var WHOLE_BITS = 10;
var HALF_WHOLE = 512;
/**
* The crop of `width`×`height` that `matrix` (image → crop) cuts out of `picture`, bilinear, zeros outside.
*
* A crop that shrinks the picture by 2 or more is first reduced by area, by the power of two that leaves less than 2:
* bilinear sampling alone would skip pixels and alias.
*/
function warp(picture, matrix, width, height) {
	const shrink = 1 / matrixScale(matrix);
	if (!(shrink >= 2)) return sample(picture, matrix, width, height);
	const [reduced, reduction] = reduceByArea(picture, 1 << 31 - Math.clz32(shrink), regionOf(matrix, width, height));
	return sample(reduced, compose(matrix, invert(reduction)), width, height);
}
/** Whole-pixel region, ends excluded, that a crop of `width`×`height` looks at. */
function regionOf(matrix, width, height) {
	const back = invert(matrix);
	const corners = [
		[-.5, -.5],
		[width - .5, -.5],
		[width - .5, height - .5],
		[-.5, height - .5]
	].map(([x, y]) => transform(back, [x, y]));
	const xs = corners.map((corner) => corner[0]);
	const ys = corners.map((corner) => corner[1]);
	return [
		Math.floor(Math.min(...xs)),
		Math.floor(Math.min(...ys)),
		Math.ceil(Math.max(...xs)) + 1,
		Math.ceil(Math.max(...ys)) + 1
	];
}
/**
* Mean of each `factor`×`factor` block of the part of `picture` in `region`, and the matrix image → reduced.
*
* Blocks are counted from the picture's own corner. The last block of a side that `factor` does not divide repeats the
* border pixel.
*/
function reduceByArea(picture, factor, region) {
	const onGrid = (value, limit) => Math.min(Math.max(Math.floor(value / factor) * factor, 0), limit);
	const [x0, y0] = [onGrid(region[0], picture.width), onGrid(region[1], picture.height)];
	const [x1, y1] = [onGrid(region[2] + factor, picture.width), onGrid(region[3] + factor, picture.height)];
	if (x1 <= x0 || y1 <= y0) return [{
		width: 1,
		height: 1,
		data: /* @__PURE__ */ new Uint8Array(4)
	}, [
		1 / factor,
		0,
		-1e6,
		0,
		1 / factor,
		-1e6
	]];
	const reduced = meanBlocks(picture, factor, [
		x0,
		y0,
		x1,
		y1
	]);
	const shift = (1 / factor - 1) / 2;
	return [reduced, [
		1 / factor,
		0,
		shift - x0 / factor,
		0,
		1 / factor,
		shift - y0 / factor
	]];
}
function meanBlocks(picture, factor, [x0, y0, x1, y1]) {
	const [columns, rows] = [Math.ceil((x1 - x0) / factor), Math.ceil((y1 - y0) / factor)];
	const data = new Uint8Array(columns * rows * 4);
	const [from, sums] = [bytesOf(picture), new Int32Array(columns * 3)];
	const [half, bits] = [factor * factor >> 1, 2 * Math.log2(factor)];
	for (let row = 0, to = 0; row < rows; row++) {
		sums.fill(0);
		for (let line = row * factor; line < (row + 1) * factor; line++) addLine(from, picture.width, Math.min(y0 + line, y1 - 1), x0, x1, factor, sums);
		for (let sum = 0; sum < sums.length; sum += 3, to += 4) {
			data[to] = sums[sum] + half >> bits;
			data[to + 1] = sums[sum + 1] + half >> bits;
			data[to + 2] = sums[sum + 2] + half >> bits;
		}
	}
	return {
		width: columns,
		height: rows,
		data
	};
}
/** Add the pixels of one row to the sums of their blocks; the last block is filled up with the last pixel. */
function addLine(data, width, y, x0, x1, factor, sums) {
	const last = (y * width + x1 - 1) * 4;
	let at = (y * width + x0) * 4;
	for (let column = 0; column < sums.length; column += 3) {
		let red = 0;
		let green = 0;
		let blue = 0;
		for (let step = 0; step < factor; step++) {
			red += data[at];
			green += data[at + 1];
			blue += data[at + 2];
			if (at < last) at += 4;
		}
		sums[column] += red;
		sums[column + 1] += green;
		sums[column + 2] += blue;
	}
}
/** Bilinear, in the fixed-point positions of cv2.warpAffine; in whole numbers, twice as fast as in fractions. */
function sample(picture, matrix, width, height) {
	const [a, b, c, d, e, f] = invert(matrix);
	const data = new Uint8Array(width * height * 3);
	const steps = (by) => Int32Array.from({ length: width }, (_, column) => Math.round(by * column * FINE));
	const [right, down] = [steps(a), steps(d)];
	const { width: columns, height: rows } = picture;
	const [from, below] = [bytesOf(picture), columns * 4];
	for (let row = 0, to = 0; row < height; row++) {
		const startX = inRange(Math.round((b * row + c) * FINE) + HALF_STEP);
		const startY = inRange(Math.round((e * row + f) * FINE) + HALF_STEP);
		for (let column = 0; column < width; column++, to += 3) {
			const x32 = startX + right[column] >> STEP_BITS;
			const y32 = startY + down[column] >> STEP_BITS;
			const left = x32 >> FRACTION_BITS;
			const top = y32 >> FRACTION_BITS;
			if (left < 0 || top < 0 || left >= columns - 1 || top >= rows - 1) {
				blend$1(picture, x32, y32, data, to);
				continue;
			}
			const u = x32 & 31;
			const v = y32 & 31;
			const southEast = u * v;
			const southWest = (v << FRACTION_BITS) - southEast;
			const northEast = (u << FRACTION_BITS) - southEast;
			const northWest = 1024 - southWest - northEast - southEast;
			const at = top * below + left * 4;
			const under = at + below;
			data[to] = from[at] * northWest + from[at + 4] * northEast + from[under] * southWest + from[under + 4] * southEast + HALF_WHOLE >> WHOLE_BITS;
			data[to + 1] = from[at + 1] * northWest + from[at + 5] * northEast + from[under + 1] * southWest + from[under + 5] * southEast + HALF_WHOLE >> WHOLE_BITS;
			data[to + 2] = from[at + 2] * northWest + from[at + 6] * northEast + from[under + 2] * southWest + from[under + 6] * southEast + HALF_WHOLE >> WHOLE_BITS;
		}
	}
	return {
		width,
		height,
		data
	};
}
/** The bytes of `picture`, always as one type of array: loops over two types take several times as long. */
function bytesOf({ data }) {
	return new Uint8Array(data.buffer, data.byteOffset, data.length);
}
/** `place`, at most a million pixels away: the sums of such are whole numbers of 32 bits, and outside of every picture. */
function inRange(place) {
	return Math.max(-(2 ** 30), Math.min(2 ** 30, place));
}
/** The pixel at `x32` / 32, `y32` / 32 of `picture`, at its edge or beyond, into `into` from `to` on. */
function blend$1({ data, width, height }, x32, y32, into, to) {
	const left = x32 >> FRACTION_BITS;
	const top = y32 >> FRACTION_BITS;
	if (left < -1 || top < -1 || left >= width || top >= height) return;
	const u = x32 & 31;
	const v = y32 & 31;
	const west = left < 0 ? 0 : FRACTIONS - u;
	const east = left + 1 >= width ? 0 : u;
	const north = top < 0 ? 0 : FRACTIONS - v;
	const south = top + 1 >= height ? 0 : v;
	const upper = ((top < 0 ? 0 : top) * width + (left < 0 ? 0 : left)) * 4;
	const lower = upper + (top < 0 || top + 1 >= height ? 0 : width * 4);
	const right = left < 0 || left + 1 >= width ? 0 : 4;
	for (let channel = 0; channel < 3; channel++) {
		const above = data[upper + channel] * west + data[upper + right + channel] * east;
		const below = data[lower + channel] * west + data[lower + right + channel] * east;
		into[to + channel] = above * north + below * south + HALF_WHOLE >> WHOLE_BITS;
	}
}
// src/lightmark/schema.ts
/** Schemas: how many points there are, what groups they form and which of them lines join. */
/** The schema in a model's metadata; throws for a missing key or an index without point. */
function schemaFromJson(data) {
	const { name, mirror, edges = [], groups = {} } = data;
	if (typeof name !== "string" || !Array.isArray(mirror) || mirror.length === 0) throw new LightmarkError("its schema lacks a name or `mirror`");
	const known = (index) => Number.isInteger(index) && index >= 0 && index < mirror.length;
	if (!mirror.every(known) || !edges.every((edge) => edge.length === 2 && edge.every(known))) throw new LightmarkError(`its schema ${name} names points that its ${mirror.length} points do not hold`);
	return {
		name,
		size: mirror.length,
		mirror,
		edges,
		groups
	};
}
/** The 68 points that WFLW's 98 imply; inner eyelids lie at ⅓ and ⅔ along the eyelid. */
function ibug68FromWflw98(points) {
	const found = new Array(68);
	for (let index = 0; index < 17; index++) found[index] = points[2 * index];
	for (let index = 0; index < 5; index++) found[17 + index] = points[33 + index];
	for (let index = 0; index < 5; index++) found[22 + index] = points[42 + index];
	for (let index = 0; index < 9; index++) found[27 + index] = points[51 + index];
	for (const [first68, first98] of [[36, 60], [42, 68]]) {
		const between = (near, far) => {
			const [a, b] = [points[first98 + near], points[first98 + far]];
			return [(2 * a[0] + b[0]) / 3, (2 * a[1] + b[1]) / 3];
		};
		found[first68] = points[first98];
		found[first68 + 1] = between(1, 2);
		found[first68 + 2] = between(3, 2);
		found[first68 + 3] = points[first98 + 4];
		found[first68 + 4] = between(5, 6);
		found[first68 + 5] = between(7, 6);
	}
	for (let index = 0; index < 20; index++) found[48 + index] = points[76 + index];
	return found;
}
/**
* Roll in degrees, counter-clockwise: for 68 and WFLW's 98 points the mean direction of the line between the eyes and of
* the one from mouth to eyes, for others that of the model's template on them; 0 where there is none.
*/
function faceRoll({ schema, template }, points) {
	if (spansFace(schema)) return rollOf(schema.size === 98 ? ibug68FromWflw98(points) : points);
	const [x, y] = template ? turnOf(template, points) : [1, 0];
	return Math.atan2(0 - y, x) * DEGREES$1;
}
/** Roll to take out of the next crop of a face: `held` as long as the face lies within `STEEP_ROLL` of it. */
function heldRoll(held, roll) {
	if (!(Math.abs(wrapDegrees(roll - held)) > 25)) return held;
	return Math.abs(roll) > 25 ? roll : 0;
}
function spansFace({ name, size }) {
	return size === 68 && ["ibug68", "points68"].includes(name) || size === 98 && ["wflw98", "points98"].includes(name);
}
function rollOf(points) {
	return rollOfFeatures(middle(points.slice(36, 42)), middle(points.slice(42, 48)), points[48], points[54]);
}
/** Roll of a face from its eyes' centres and its mouth's corners (roll_of_features in lightmark/geometry.py). */
function rollOfFeatures(right, left, rightMouth, leftMouth) {
	const mouth = middle([rightMouth, leftMouth]);
	const [across, down] = [[left[0] - right[0], left[1] - right[1]], [mouth[0] - (right[0] + left[0]) / 2, mouth[1] - (right[1] + left[1]) / 2]];
	return Math.atan2(0 - (across[1] - down[0]), across[0] + down[1]) * DEGREES$1;
}
function middle(points) {
	const sum = points.reduce(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
	return [sum[0] / points.length, sum[1] / points.length];
}
// src/lightmark/onnx_file.ts
/** What an ONNX file says of itself, read from its bytes without a runtime. */
var IR_VERSION = 1;
var GRAPH = 7;
var METADATA_PROPS = 14;
var KEY = 1;
var VALUE = 2;
/** `metadata_props` of the ONNX model in `bytes`; throws, calling the file `name`, for anything else. */
function readMetadata(bytes, name) {
	const metadata = /* @__PURE__ */ new Map();
	const seen = /* @__PURE__ */ new Set();
	try {
		for (const field of fields(bytes)) {
			seen.add(field.number);
			if (field.number === METADATA_PROPS && field.bytes) metadata.set(...entry(field.bytes));
		}
	} catch {
		seen.clear();
	}
	if (!seen.has(IR_VERSION) || !seen.has(GRAPH)) throw new LightmarkError(`${name} is no ONNX model, or was cut short. Models are written by “lightmark export”.`);
	return metadata;
}
function entry(bytes) {
	const text = new TextDecoder();
	let [key, value] = ["", ""];
	for (const field of fields(bytes)) {
		if (field.number === KEY && field.bytes) key = text.decode(field.bytes);
		if (field.number === VALUE && field.bytes) value = text.decode(field.bytes);
	}
	return [key, value];
}
/** The fields of one message, one after the other (protobuf's wire format). */
function* fields(bytes) {
	let at = 0;
	const varint = () => {
		let [value, factor] = [0, 1];
		for (;;) {
			if (at >= bytes.length || factor > 2 ** 63) throw new RangeError("cut");
			const byte = bytes[at++];
			value += (byte & 127) * factor;
			if (byte < 128) return value;
			factor *= 128;
		}
	};
	while (at < bytes.length) {
		const tag = varint();
		const [number, wire] = [Math.floor(tag / 8), tag % 8];
		if (number === 0) throw new RangeError("field 0");
		const start = at;
		if (wire === 0) varint();
		else if (wire === 1) at += 8;
		else if (wire === 5) at += 4;
		else if (wire === 2) {
			const length = varint();
			at += length;
			if (at > bytes.length) throw new RangeError("cut");
			yield {
				number,
				bytes: bytes.subarray(at - length, at)
			};
			continue;
		} else throw new RangeError(`wire type ${wire} at ${start}`);
		if (at > bytes.length) throw new RangeError("cut");
		yield {
			number,
			bytes: null
		};
	}
}
// src/lightmark/ort_files.ts
/**
* The build that runs on processors alone is the fastest there and the smallest. That with WebGPU needs a browser that
* can suspend WebAssembly (JSPI), as Chromium's can; its twin for other browsers takes twice as long on processors.
*/
var FILES = {
	wasm: {
		script: "ort.wasm.min.mjs",
		glue: "ort-wasm-simd-threaded.mjs",
		wasm: "ort-wasm-simd-threaded.wasm"
	},
	webgpu: {
		script: "ort.jspi.min.mjs",
		glue: "ort-wasm-simd-threaded.jspi.mjs",
		wasm: "ort-wasm-simd-threaded.jspi.wasm"
	}
};
// src/lightmark/runtime.ts
var ERRORS = 3;
var MOST_THREADS = 4;
/** As many threads as half the cores, as onnxruntime-web itself counts: the other half draws the page. */
function defaultThreads() {
	if (!globalThis.crossOriginIsolated) return 1;
	return Math.max(1, Math.min(MOST_THREADS, Math.ceil((navigator.hardwareConcurrency || 1) / 2)));
}
/** Whether this browser can run models on a graphics card. */
async function hasWebGpu() {
	if (!("Suspending" in WebAssembly)) return false;
	const gpu = navigator.gpu;
	try {
		return Boolean(await gpu?.requestAdapter());
	} catch {
		return false;
	}
}
var loaded = /* @__PURE__ */ new Map();
function load(options) {
	const backend = options.backend ?? "wasm";
	const here = import.meta.url;
	const folder = new URL(options.ort ?? "ort/", here);
	const files = FILES[backend];
	const place = new URL(files.script, folder).href;
	let module = loaded.get(place);
	if (!module) {
		module = import(
			/* @vite-ignore */
			place
).then((ort) => {
			ort.env.logLevel = "error";
			ort.env.wasm.wasmPaths = {
				mjs: new URL(files.glue, folder).href,
				wasm: new URL(files.wasm, folder).href
			};
			ort.env.wasm.numThreads = options.threads ?? defaultThreads();
			return ort;
		});
		loaded.set(place, module);
		module.catch(() => loaded.delete(place));
	}
	return module;
}
var last = Promise.resolve();
/** `work` after all that was asked for before: on graphics cards onnxruntime-web can do one thing at a time only. */
function inTurn(work) {
	const done = last.then(work);
	last = done.catch(() => null);
	return done;
}
/** The session of the ONNX model in `bytes`, which errors call `name`. */
async function openSession(bytes, name, options = {}) {
	const metadata = readMetadata(bytes, name);
	const ort = await load(options);
	const settings = {
		executionProviders: [options.backend ?? "wasm"],
		logSeverityLevel: ERRORS
	};
	const session = await inTurn(() => ort.InferenceSession.create(bytes, settings)).catch((error) => {
		throw new LightmarkError(`${name} does not open: ${error.message}`);
	});
	const [input, ...others] = session.inputMetadata;
	if (others.length || !input?.isTensor) throw new LightmarkError(`${name} does not take one picture.`);
	const batch = input.shape[0];
	return {
		metadata,
		input: {
			name: input.name,
			type: input.type,
			batch: typeof batch === "number" ? batch : null
		},
		async run(type, data, shape) {
			const outputs = await inTurn(() => session.run({ [input.name]: new ort.Tensor(type, data, shape) }));
			return session.outputNames.map((output) => {
				const { data, dims } = outputs[output];
				return {
					data: Float32Array.from(data),
					dims
				};
			});
		},
		release: () => inTurn(() => session.release())
	};
}
/** The bytes of `source`: a file's address, the file or its bytes. */
async function readBytes(source) {
	if (source instanceof Uint8Array) return source;
	if (source instanceof ArrayBuffer) return new Uint8Array(source);
	if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
	let answer;
	try {
		answer = await fetch(source);
	} catch {
		throw new LightmarkError(`${source} cannot be reached; is the network or the server off?`);
	}
	if (!answer.ok) throw new LightmarkError(`${source}: the server answers ${answer.status} ${answer.statusText}`);
	return new Uint8Array(await answer.arrayBuffer());
}
// src/lightmark/stopwatch.ts
var Stopwatch = class {
	crop = 0;
	network = 0;
	/** Add what passed between three readings of `performance.now`. */
	add(began, cropped, ended) {
		this.crop += cropped - began;
		this.network += ended - cropped;
	}
	/** What was added since this was last called. */
	take() {
		const costs = {
			crop: this.crop,
			network: this.network
		};
		this.crop = this.network = 0;
		return costs;
	}
};
// src/lightmark/spec.ts
/** ModelSpec: what a landmark model takes and gives, as its file says (lightmark/spec.py). */
var METADATA_KEY = "lightmark";
var VERSION = 1;
var MOST_PIXELS = 4096;
var MOST_POINTS = 4096;
var MOST_SCALE = 100;
/** The ModelSpec in the metadata of the file called `name`; throws a sentence for the person who chose it. */
function specFromMetadata(metadata, name) {
	const text = metadata.get(METADATA_KEY);
	if (text !== void 0) return specFromJson(text, name);
	if (metadata.has("lightmark_detector")) throw new LightmarkError(`${name} is a face detector; choose a landmark model, written by “lightmark export”.`);
	throw new LightmarkError(`${name} is an ONNX model, but not one of Lightmark’s: nothing in it says how faces are cropped for it. Write it with “lightmark export”.`);
}
function specFromJson(text, name) {
	try {
		const data = JSON.parse(text);
		if (data.lightmark !== VERSION) throw new LightmarkError(`its ModelSpec has version ${String(data.lightmark)}, this page reads ${VERSION}`);
		const schema = schemaFromJson(data.schema);
		if (schema.size > MOST_POINTS) throw new LightmarkError(`it has ${schema.size} points, more than ${MOST_POINTS}`);
		const size = number(data, "size", 16, MOST_PIXELS);
		if (!Number.isInteger(size)) throw new LightmarkError(`size is ${size}`);
		return {
			schema,
			size,
			cropScale: number(data, "crop_scale", Number.MIN_VALUE, MOST_SCALE),
			template: places(data, "template", schema.size),
			boxMap: boxMap(data, schema.size),
			mean: numbers(data, "mean", 3),
			std: numbers(data, "std", 3, Number.MIN_VALUE),
			confidence: data.confidence === true,
			provenance: data.provenance ?? {}
		};
	} catch (error) {
		throw new LightmarkError(`${name} holds no usable ModelSpec: ${error.message}.`);
	}
}
/** The settings in the metadata of a face detector's file. */
function detectorFromMetadata(metadata, name) {
	try {
		const data = JSON.parse(metadata.get("lightmark_detector") ?? "null");
		const [threshold, possible] = [number(data, "threshold", 0), number(data, "possible", 0)];
		return {
			threshold,
			possible,
			multiple: number(data, "multiple", 1)
		};
	} catch {
		throw new LightmarkError(`${name} is not a face detector that Lightmark exported.`);
	}
}
function places(data, key, size) {
	if (data[key] === void 0 || data[key] === null) return null;
	const rows = data[key];
	if (!Array.isArray(rows) || rows.length !== size) throw new LightmarkError(`${key} needs ${size} points`);
	return rows.map((_, index) => numbers(rows, index, 2, -100, MOST_SCALE));
}
function boxMap(data, size) {
	if (data.box_map === void 0 || data.box_map === null) return null;
	const parts = data.box_map;
	if (!Array.isArray(parts) || parts.length !== 3 || !data.template) throw new LightmarkError("box_map does not fit");
	return parts.map((part) => {
		const weights = places({ box_map: part }, "box_map", size);
		if (!weights) throw new LightmarkError("box_map does not fit");
		return weights;
	});
}
function number(data, key, least, most = Number.MAX_VALUE) {
	const value = data[key];
	if (typeof value !== "number" || !(value >= least && value <= most)) throw new LightmarkError(`${key} is ${String(value)}`);
	return value;
}
function numbers(data, key, count, least = -Number.MAX_VALUE, most = Number.MAX_VALUE) {
	const values = data[key];
	const fits = (value) => typeof value === "number" && value >= least && value <= most;
	if (!Array.isArray(values) || values.length !== count || !values.every(fits)) throw new LightmarkError(`${key} is ${String(JSON.stringify(values)).slice(0, 80)}, needs ${count} numbers that fit`);
	return values;
}
/** Planes (B, 3, S, S) that the model takes: (pixel / 255 − mean) / std, one crop after the other. */
function normaliseCrops(crops, spec) {
	const plane = spec.size * spec.size;
	const planes = new Float32Array(crops.length * 3 * plane);
	crops.forEach((crop, index) => {
		for (let channel = 0; channel < 3; channel++) {
			const scale = Math.fround(1 / (255 * spec.std[channel]));
			const shift = Math.fround(spec.mean[channel] / spec.std[channel]);
			const start = (index * 3 + channel) * plane;
			for (let pixel = 0; pixel < plane; pixel++) planes[start + pixel] = crop.data[pixel * 3 + channel] * scale - shift;
		}
	});
	return planes;
}
/** The bytes (B, S, S, 3) of crops, for models that take them as they are. */
function cropBytes(crops) {
	const length = crops[0]?.data.length ?? 0;
	const bytes = new Uint8Array(crops.length * length);
	crops.forEach((crop, index) => bytes.set(crop.data, index * length));
	return bytes;
}
// src/lightmark/face_detector.ts
/** FaceDetector: Lightmark's own small network for faces (lightmark/detectors/face_detector.py). */
var LONGEST = 256;
var SMALLEST$1 = 40 / 3;
var MOST_LONGEST = 1920;
var MOST_ZOOM = 2;
/** Without `minFace`: faces from this share of the largest sure find on are looked for, of any size where there is none. */
var FAR_SHARE = 1 / 4;
var FAR = 1280;
var WORTHWHILE = 1.35;
var FINER_STEP = 16;
/** What is not sure is looked at again: upright, its longer side so many pixels of an input of this size. */
var [LOOK_FACE, LOOK_SIZE] = [80, 128];
var LOOKS = 32;
/** The score that is worth a look beside what is sure, and with less than this share of its largest side. */
var [BESIDE, BESIDE_SMALL, SMALL] = [
	.45,
	.6,
	.3
];
var SAME_IOU = .4;
/** A face's box is the mean of those that overlap the surest by this, and have this share of its score, by score. */
var [BLEND_IOU, BLEND_SCORE] = [.7, .8];
var MOST = 400;
var KEYPOINTS = 5;
/** How a whole picture comes to `longest` pixels on its longer side, in the upper left corner of a larger one. */
function fitWhole(width, height, longest, multiple) {
	const zoom = longest / Math.max(width, height);
	const shift = (zoom - 1) / 2;
	const padded = (side) => {
		const exact = Math.round(side * zoom * 1e6) / 1e6;
		return Math.max(1, Math.ceil(exact / multiple)) * multiple;
	};
	return {
		matrix: [
			zoom,
			0,
			shift,
			0,
			zoom,
			shift
		],
		width: padded(width),
		height: padded(height)
	};
}
/** What the network's cells found: `boxes` (four numbers each) and `keypoints`, where the score is at least `least`. */
function findsOf(boxes, scores, keypoints, least) {
	const finds = [];
	for (let cell = 0; cell < scores.length; cell++) {
		if (scores[cell] < least) continue;
		const at = cell * 4;
		const box = [
			boxes[at],
			boxes[at + 1],
			boxes[at + 2],
			boxes[at + 3]
		];
		finds.push({
			box,
			score: scores[cell],
			roll: rollOfCell(keypoints, cell)
		});
	}
	return finds;
}
var longerSide = ([x0, y0, x1, y1]) => Math.max(x1 - x0, y1 - y0);
function rollOfCell(keypoints, cell) {
	const at = (keypoint) => {
		const start = (cell * KEYPOINTS + keypoint) * 2;
		return [keypoints[start], keypoints[start + 1]];
	};
	return rollOfFeatures(at(0), at(1), at(3), at(4));
}
/** The face `box` of a picture by the finds of its look, which `matrix` cut: none if they show none there. */
function seenAt({ box, roll }, matrix, finds) {
	const zoom = matrixScale(matrix);
	const expected = boxAt([(LOOK_SIZE - 1) / 2, (LOOK_SIZE - 1) / 2], box, zoom);
	const find = finds.find((one) => overlap(expected, one.box) > SAME_IOU);
	if (!find) return [];
	const centre = transform(invert(matrix), boxCentre(find.box));
	return [{
		...find,
		box: boxAt(centre, find.box, 1 / zoom),
		roll: wrapDegrees(find.roll + roll)
	}];
}
/** Of several finds on one face the surest. */
function suppress(found) {
	return clusters(found).map(({ best }) => best);
}
/** The surest find on each face, with those that are left beside the surer faces, itself the first, and their overlaps. */
function clusters(found) {
	const faces = [];
	let left = [...found].sort((a, b) => b.score - a.score).slice(0, MOST);
	while (left.length) {
		const best = left[0];
		const shares = left.map((other) => other === best ? 1 : overlap(best.box, other.box));
		faces.push({
			best,
			left,
			shares
		});
		left = left.filter((_, index) => shares[index] <= SAME_IOU);
	}
	return faces;
}
/** The surest of several finds on one face, in the mean box of those that are nearly as sure and nearly at its place. */
function blend(found) {
	return clusters(found).map(({ best, left, shares }) => {
		const near = left.filter(({ score }, index) => shares[index] >= BLEND_IOU && score >= BLEND_SCORE * best.score);
		const sum = near.reduce((total, { score }) => total + score, 0);
		const side = (at) => near.reduce((total, { box, score }) => total + score * box[at], 0) / sum;
		return {
			...best,
			box: [
				side(0),
				side(1),
				side(2),
				side(3)
			]
		};
	});
}
/**
* Pixels of the longer side at which a picture is searched a second time, for faces from `minFace` on; null for not at all.
* `largest` is the side of the largest face that the first search is sure of, 0 where it is sure of none.
*/
function finerInput(width, height, minFace, largest) {
	const longer = Math.max(width, height);
	if (minFace === null) {
		const needed = Math.min(FAR, SMALLEST$1 * longer / (FAR_SHARE * largest));
		const finer = Math.min(longer, Math.floor(needed / FINER_STEP) * FINER_STEP);
		return finer >= WORTHWHILE * LONGEST ? finer : null;
	}
	if (!(minFace > 0 && minFace < Infinity)) throw new LightmarkError(`smallest face ${minFace}: needs pixels, or a share below 1 of the picture's longer side`);
	const share = minFace < 1 ? minFace : minFace / longer;
	const finer = Math.min(Math.ceil(SMALLEST$1 / share), MOST_LONGEST, MOST_ZOOM * longer);
	return finer > LONGEST ? finer : null;
}
var FaceDetector = class {
	session;
	spec;
	minFace;
	stopwatch = new Stopwatch();
	/**
	* `minFace` is the smallest face to look for, in pixels or, below 1, as a share of the picture's longer side; null: about
	* 1/19 of that side, less beside small faces or none. For smaller ones the picture is searched at a larger size, too.
	*/
	constructor(session, spec, minFace = null) {
		this.session = session;
		this.spec = spec;
		this.minFace = minFace;
	}
	/** Tight 68-point boxes in pixels of `picture`, the largest first; they may reach over its edges. */
	async detect(picture) {
		return (await this.propose(picture)).filter((one) => one.sure).map((one) => one.box);
	}
	/**
	* The boxes that `detect` gives, where there is none those of what may be faces, the largest first; as if there were
	* nothing at the places of `denied`.
	*/
	async propose(picture, denied = []) {
		const allowed = ({ box }) => denied.every((other) => overlap(other, box) <= SAME_IOU);
		const proposals = largestFirst((await this.lookAgain(picture, await this.finds(picture, allowed))).filter(allowed).map(({ box, score, roll }) => ({
			box,
			sure: this.isSure(score),
			roll
		})));
		return proposals.some(({ sure }) => sure) ? proposals.filter(({ sure }) => sure) : proposals;
	}
	isSure(score) {
		return score >= this.spec.threshold;
	}
	/** What may be faces in `picture`, by a score of at least `possible`, where it is `allowed`. */
	async finds(picture, allowed) {
		const finds = (await this.search(picture, LONGEST)).filter(allowed);
		const largest = Math.max(0, ...finds.map(({ box, score }) => this.isSure(score) ? longerSide(box) : 0));
		const finer = finerInput(picture.width, picture.height, this.minFace, largest);
		if (finer !== null) finds.push(...(await this.search(picture, finer)).filter(allowed));
		return suppress(finds);
	}
	/** `found`; what is not sure as a second look shows it, without what that misses. */
	async lookAgain(picture, found) {
		const sure = found.filter(({ score }) => this.isSure(score));
		const smallest = SMALL * Math.max(0, ...sure.map(({ box }) => longerSide(box)));
		const least = (box) => longerSide(box) < smallest ? BESIDE_SMALL : BESIDE;
		const worth = ({ box, score }) => !this.isSure(score) && (!sure.length || score >= least(box));
		const others = (await this.look(picture, found.filter(worth))).filter((find) => sure.every(({ box }) => overlap(box, find.box) <= SAME_IOU));
		return [...sure, ...suppress(others)];
	}
	/** Those of `found` that an input of their own shows, as it shows them upright. */
	async look(picture, found) {
		const seen = [];
		for (let start = 0; start < found.length; start += LOOKS) {
			const faces = found.slice(start, start + LOOKS);
			const matrices = faces.map(({ box, roll }) => cropMatrix(box, LOOK_SIZE, LOOK_SIZE / LOOK_FACE, -roll));
			const finds = await this.seen(picture, matrices, LOOK_SIZE, LOOK_SIZE);
			seen.push(...faces.flatMap((face, index) => seenAt(face, matrices[index], finds[index])));
		}
		return seen;
	}
	/** The same at one size: `longest` pixels of the longer side. */
	async search(picture, longest) {
		const { matrix, width, height } = fitWhole(picture.width, picture.height, longest, this.spec.multiple);
		const back = invert(matrix);
		const [finds] = await this.seen(picture, [matrix], width, height);
		return finds.map((find) => ({
			...find,
			box: transformBox(back, find.box)
		}));
	}
	/** What may be faces, surest first, in the pixels of each of the inputs that `matrices` cut from `picture`. */
	async seen(picture, matrices, width, height) {
		const began = performance.now();
		const inputs = new Uint8Array(matrices.length * width * height * 3);
		matrices.forEach((matrix, index) => {
			inputs.set(warp(picture, matrix, width, height).data, index * width * height * 3);
		});
		const cropped = performance.now();
		const outputs = await this.session.run("uint8", inputs, [
			matrices.length,
			height,
			width,
			3
		]);
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
	async warmUp() {
		const [width, height] = [LONGEST, Math.ceil(LONGEST * 3 / 4 / this.spec.multiple) * this.spec.multiple];
		await this.session.run("uint8", new Uint8Array(width * height * 3), [
			1,
			height,
			width,
			3
		]);
	}
};
/** The face detector in an ONNX file: its address, the file or its bytes. */
async function loadDetector(source, options = {}) {
	const name = nameOf(source, "face detector");
	const session = await openSession(await readBytes(source), name, options);
	const detector = new FaceDetector(session, detectorFromMetadata(session.metadata, name));
	await detector.warmUp();
	return detector;
}
function nameOf(source, otherwise) {
	if (source instanceof File) return source.name;
	return typeof source === "string" || source instanceof URL ? String(source) : otherwise;
}
// src/lightmark/head.ts
var LEFT_BROW = [
	[
		-.6633,
		-.1569,
		-.0797
	],
	[
		-.5624,
		-.2394,
		.0494
	],
	[
		-.4242,
		-.266,
		.1414
	],
	[
		-.2833,
		-.2504,
		.202
	],
	[
		-.1501,
		-.2066,
		.2352
	]
];
var NOSE = [
	[
		0,
		-.0149,
		.2643
	],
	[
		0,
		.1233,
		.3604
	],
	[
		0,
		.2578,
		.4615
	],
	[
		0,
		.3896,
		.4993
	]
];
var LEFT_NOSTRIL = [
	[
		-.1615,
		.4876,
		.2562
	],
	[
		-.0852,
		.5105,
		.3034
	],
	[
		0,
		.5327,
		.327
	]
];
var LEFT_EYE = [
	[
		-.5,
		0,
		0
	],
	[
		-.4144,
		-.0481,
		.0795
	],
	[
		-.3071,
		-.0471,
		.0862
	],
	[
		-.2154,
		.0148,
		.0646
	],
	[
		-.3126,
		.0364,
		.0839
	],
	[
		-.4192,
		.0362,
		.0604
	]
];
var EYE_ORDER = [
	3,
	2,
	1,
	0,
	5,
	4
];
var mirrored = ([x, y, z]) => [
	-x,
	y,
	z
];
/** Points 17 to 47 of the 68: x to the right of the picture, y down, z to the viewer; outer eye corners 1 apart. */
var HEAD = [
	...LEFT_BROW,
	...LEFT_BROW.map(mirrored).reverse(),
	...NOSE,
	...LEFT_NOSTRIL,
	...LEFT_NOSTRIL.slice(0, 2).map(mirrored).reverse(),
	...LEFT_EYE,
	...EYE_ORDER.map((index) => mirrored(LEFT_EYE[index]))
];
// src/lightmark/pose.ts
var SPREAD = .024;
var WIDTH_SPREAD = .06;
var STEPS = 30;
var SMALL_STEP = 1e-6;
var LONGEST_TURN = .5;
var DEGREES = 180 / Math.PI;
/** Pose of the head with landmarks `points`; null where schema or points cannot tell. */
function headPose(points, schema) {
	const all = schema.name === "wflw98" && points.length === 98 ? ibug68FromWflw98(points) : points;
	if (!["ibug68", "wflw98"].includes(schema.name) || all.length !== 68) return null;
	const rotation = fitRotation(all.slice(17, 17 + HEAD.length), HEAD);
	return rotation && rotationAngles(rotation);
}
/** Yaw, pitch and roll of a rotation Rz(roll) · Ry(yaw) · Rx(pitch), in degrees. */
function rotationAngles(rotation) {
	const yaw = Math.asin(Math.min(1, Math.max(-1, -rotation[2][0])));
	const edge = Math.abs(rotation[2][0]) > 1 - 1e-12;
	const pitch = edge ? Math.atan2(-rotation[1][2], rotation[1][1]) : Math.atan2(rotation[2][1], rotation[2][2]);
	const roll = edge ? 0 : Math.atan2(-rotation[1][0], rotation[0][0]);
	return {
		yaw: yaw * DEGREES,
		pitch: pitch * DEGREES,
		roll: roll * DEGREES
	};
}
/** Rz(roll) · Ry(yaw) · Rx(pitch), the inverse of `rotationAngles`. */
function rotationOf({ yaw, pitch, roll }) {
	const [cy, sy] = [Math.cos(yaw / DEGREES), Math.sin(yaw / DEGREES)];
	const [cp, sp] = [Math.cos(pitch / DEGREES), Math.sin(pitch / DEGREES)];
	const [cr, sr] = [Math.cos(roll / DEGREES), Math.sin(roll / DEGREES)];
	const turn = [
		[
			cy,
			0,
			sy
		],
		[
			0,
			1,
			0
		],
		[
			-sy,
			0,
			cy
		]
	];
	const nod = [
		[
			1,
			0,
			0
		],
		[
			0,
			cp,
			-sp
		],
		[
			0,
			sp,
			cp
		]
	];
	return multiply([
		[
			cr,
			sr,
			0
		],
		[
			-sr,
			cr,
			0
		],
		[
			0,
			0,
			1
		]
	], multiply(turn, nod));
}
/** Rotation that lays `solid` over `points` with the least error, by Gauss-Newton; null for points on one line. */
function fitRotation(points, solid) {
	if (!points.every((point) => point.every(Number.isFinite))) return null;
	const flat = centred(points);
	const head = centred(solid);
	const start = affineStart(flat, head);
	if (!start) return null;
	let [rotation, scale] = start;
	let width = 0;
	for (let round = 0; round < STEPS; round++) {
		const step = newtonStep(flat, head, rotation, scale, width);
		if (!step) return null;
		const turn = Math.hypot(step[0], step[1], step[2]);
		const share = Math.min(1, LONGEST_TURN / Math.max(turn, LONGEST_TURN));
		const taken = step.map((value) => value * share);
		rotation = multiply(turnAbout([
			taken[0],
			taken[1],
			taken[2]
		]), rotation);
		scale *= Math.exp(Math.min(1, Math.max(-1, taken[3])));
		width += taken[4];
		if (taken.every((value) => Math.abs(value) < SMALL_STEP)) break;
	}
	return rotation;
}
/** The least-squares step: three turns about the axes, the logarithms of scale and of the head's width. */
function newtonStep(points, solid, rotation, scale, width) {
	const normal = Array.from({ length: 5 }, () => new Array(5).fill(0));
	const right = new Array(5).fill(0);
	const add = (row, left) => {
		for (let i = 0; i < 5; i++) {
			right[i] += row[i] * left;
			for (let j = 0; j < 5; j++) normal[i][j] += row[i] * row[j];
		}
	};
	const unit = scale * SPREAD;
	solid.forEach((point, index) => {
		const widened = [
			scale * point[0] * Math.exp(width),
			scale * point[1],
			scale * point[2]
		];
		const [x, y, z] = rotation.map((row) => dot(row, widened));
		const across = [
			0,
			z,
			-y,
			x,
			widened[0] * rotation[0][0]
		];
		const down = [
			-z,
			0,
			x,
			y,
			widened[0] * rotation[1][0]
		];
		add(across.map((value) => value / unit), (points[index][0] - x) / unit);
		add(down.map((value) => value / unit), (points[index][1] - y) / unit);
	});
	add([
		0,
		0,
		0,
		0,
		1 / WIDTH_SPREAD
	], -width / WIDTH_SPREAD);
	return solve(normal, right);
}
/** Rotation and scale nearest to the affine map that fits best. */
function affineStart(points, solid) {
	const normal = [
		0,
		1,
		2
	].map((i) => [
		0,
		1,
		2
	].map((j) => sum(solid, (row) => row[i] * row[j])));
	const rows = [];
	for (const axis of [0, 1]) {
		const row = solve(normal, [
			0,
			1,
			2
		].map((i) => sum(solid, (point, index) => point[i] * points[index][axis])));
		if (!row) return null;
		rows.push(row);
	}
	const [a, b, d] = [
		dot(rows[0], rows[0]),
		dot(rows[0], rows[1]),
		dot(rows[1], rows[1])
	];
	const determinant = Math.sqrt(Math.max(a * d - b * b, 0));
	const trace = Math.sqrt(a + d + 2 * determinant);
	const apart = Math.sqrt(Math.max(trace * trace - 4 * determinant, 0));
	if (!((trace - apart) / 2 > 1e-9 * ((trace + apart) / 2))) return null;
	const root = [[(a + determinant) / trace, b / trace], [b / trace, (d + determinant) / trace]];
	const upper = [rows[0].map((_, i) => (root[1][1] * rows[0][i] - root[0][1] * rows[1][i]) / determinant), rows[0].map((_, i) => (root[0][0] * rows[1][i] - root[1][0] * rows[0][i]) / determinant)];
	return [[...upper, cross(...upper)], trace / 2];
}
/** Solution of a small square system by elimination with pivots; null where it has none. */
function solve(matrix, right) {
	const rows = matrix.map((row, index) => [...row, right[index]]);
	const size = rows.length;
	for (let column = 0; column < size; column++) {
		let pivot = column;
		for (let row = column; row < size; row++) if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
		if (!(Math.abs(rows[pivot][column]) > 1e-300)) return null;
		[rows[column], rows[pivot]] = [rows[pivot], rows[column]];
		for (let row = 0; row < size; row++) {
			if (row === column) continue;
			const factor = rows[row][column] / rows[column][column];
			for (let at = column; at <= size; at++) rows[row][at] -= factor * rows[column][at];
		}
	}
	return rows.map((row, index) => row[size] / row[index]);
}
/** Rotation about `axis` by its length in radians (Rodrigues). */
function turnAbout(axis) {
	const angle = Math.hypot(...axis);
	const [x, y, z] = axis;
	const near = angle < 1e-9;
	const first = near ? 1 : Math.sin(angle) / angle;
	const second = near ? .5 : (1 - Math.cos(angle)) / (angle * angle);
	return [
		[
			1 - second * (y * y + z * z),
			second * x * y - first * z,
			second * x * z + first * y
		],
		[
			second * x * y + first * z,
			1 - second * (x * x + z * z),
			second * y * z - first * x
		],
		[
			second * x * z - first * y,
			second * y * z + first * x,
			1 - second * (x * x + y * y)
		]
	];
}
function centred(rows) {
	const means = rows[0].map((_, axis) => sum(rows, (row) => row[axis]) / rows.length);
	return rows.map((row) => row.map((value, axis) => value - means[axis]));
}
function multiply(first, second) {
	const column = (index) => second.map((row) => row[index]);
	return first.map((row) => [
		0,
		1,
		2
	].map((index) => dot(row, column(index))));
}
function dot(first, second) {
	return first.reduce((total, value, index) => total + value * second[index], 0);
}
function cross([a, b, c], [d, e, f]) {
	return [
		b * f - c * e,
		c * d - a * f,
		a * e - b * d
	];
}
function sum(rows, value) {
	return rows.reduce((total, row, index) => total + value(row, index), 0);
}
// src/lightmark/landmarker.ts
/** Landmarker: boxes of a picture in, faces out (lightmark/landmarker.py). */
var BATCH = 32;
var SURE = .99;
/** What is only proposed, or an answer that a turned crop began, needs this confidence: more looks, more mistakes. */
var CONFIRMED = .98;
/** Below this confidence even what the detector is sure of is no face (lightmark/landmarker.py). */
var DENIED = .1;
var LIKELY = .5;
var QUARTERS = [
	90,
	180,
	-90
];
var Landmarker = class {
	session;
	spec;
	name;
	stopwatch = new Stopwatch();
	constructor(session, spec, name) {
		this.session = session;
		this.spec = spec;
		this.name = name;
	}
	/**
	* One face a box, in the boxes' order. `angles` are the faces' roll in degrees, counter-clockwise: such a box lies along
	* its face's axes, turned about its centre. Where one is missing, it is found.
	*/
	async landmarks(picture, boxes, angles = []) {
		const known = boxes.map((box, index) => {
			const roll = angles[index] ?? null;
			return {
				box: requireBox(box),
				roll: roll ?? 0,
				guessed: roll === null
			};
		});
		return this.faces(picture, known);
	}
	/** One face a guess, in their order. */
	confirm(picture, guesses) {
		return this.faces(picture, guesses.map((guess) => ({
			...guess,
			box: requireBox(guess.box),
			guessed: true
		})));
	}
	async faces(picture, requests) {
		const firsts = await this.answers(picture, requests);
		const upright = await this.upright(picture, requests, firsts);
		return requests.map(({ box }, index) => {
			const { face } = upright[index];
			return {
				...face,
				box,
				pose: headPose(face.points, this.spec.schema)
			};
		});
	}
	/** Where to look for `face` next, if its crop is turned by `held`: see `heldRoll`. */
	placeOf({ points, box }, held = 0) {
		const roll = heldRoll(held, faceRoll(this.spec, points));
		return {
			box: this.boxOf(points, box, roll),
			roll
		};
	}
	boxOf(points, near, roll) {
		const { template, boxMap } = this.spec;
		return template ? boxAround(template, points, near, boxMap) : uprightBox(points, roll);
	}
	/** Answers from crops in which the faces are upright; `firsts` where they are, or the model sees a face nowhere. */
	async upright(picture, requests, firsts) {
		const turned = await this.turned(picture, requests, firsts);
		const seconds = await this.aligned(picture, requests, turned);
		return firsts.map((first, index) => {
			const second = seconds[index];
			const least = turned[index] === first ? LIKELY : CONFIRMED;
			return second.confidence >= Math.max(Math.min(first.confidence, SURE), least) ? second : first;
		});
	}
	/** The most confident answers of all quarter turns, for those of `firsts` of which the model is not sure. */
	async turned(picture, requests, firsts) {
		const best = [...firsts];
		const unsure = [...firsts.keys()].filter((index) => requests[index].guessed && firsts[index].confidence < SURE);
		const turns = QUARTERS.flatMap((turn) => unsure.map((index) => ({
			...requests[index],
			roll: requests[index].roll + turn
		})));
		(await this.answers(picture, turns)).forEach((answer, number) => {
			const index = unsure[number % unsure.length];
			if (answer.confidence > best[index].confidence) best[index] = answer;
		});
		return best;
	}
	/** Second answers where a face is rolled by more than `STEEP_ROLL`, in the picture or in its crop, or the crop was turned. */
	async aligned(picture, requests, answers) {
		const best = [...answers];
		const again = requests.flatMap((request, index) => {
			const crop = request.guessed ? this.alignedCrop(request, answers[index]) : null;
			return crop ? [{
				index,
				crop
			}] : [];
		});
		const seconds = await this.answers(picture, again.map(({ crop }) => crop));
		again.forEach(({ index }, number) => {
			const second = seconds[number];
			if (second.confidence >= Math.min(best[index].confidence, SURE)) best[index] = second;
		});
		return best;
	}
	alignedCrop(request, { face, roll }) {
		const own = faceRoll(this.spec, face.points);
		const steep = [0, roll].some((other) => Math.abs(wrapDegrees(own - other)) > 25);
		if (roll === request.roll && !steep) return null;
		const box = this.boxOf(face.points, request.box, own);
		const [width, height] = [box[2] - box[0], box[3] - box[1]];
		return Math.min(width, height) > 0 && Math.max(width, height) >= 1 && Number.isFinite(width + height) ? {
			...request,
			box,
			roll: own
		} : null;
	}
	/** What the model says of the crop of each of `requests`. */
	async answers(picture, requests) {
		const { spec } = this;
		const began = performance.now();
		const matrices = requests.map(({ box, roll }) => cropMatrix(box, spec.size, spec.cropScale, 0 - roll));
		const crops = matrices.map((matrix) => warp(picture, matrix, spec.size, spec.size));
		const cropped = performance.now();
		const most = this.session.input.batch ?? BATCH;
		const answers = [];
		for (let start = 0; start < requests.length; start += most) {
			const outputs = await this.run(crops.slice(start, start + most));
			for (let index = start; index < Math.min(start + most, requests.length); index++) {
				const face = this.face(outputs, index - start, matrices[index]);
				answers.push({
					face,
					roll: requests[index].roll,
					confidence: face.confidence ?? 1
				});
			}
		}
		if (requests.length) this.stopwatch.add(began, cropped, performance.now());
		return answers;
	}
	/** Run once on a blank crop: a model that contradicts its spec shows now, and the first picture is not the slowest. */
	async warmUp() {
		const { size } = this.spec;
		await this.run([{
			width: size,
			height: size,
			data: new Uint8Array(size * size * 3)
		}]);
	}
	release() {
		return this.session.release();
	}
	async run(crops) {
		const { size, schema, confidence } = this.spec;
		const outputs = this.session.input.type === "uint8" ? await this.session.run("uint8", cropBytes(crops), [
			crops.length,
			size,
			size,
			3
		]) : await this.session.run("float32", normaliseCrops(crops, this.spec), [
			crops.length,
			3,
			size,
			size
		]);
		const count = crops.length;
		const wanted = [
			count * schema.size * 2,
			count * schema.size,
			count
		].slice(0, confidence ? 3 : 1);
		if (outputs.length !== wanted.length || outputs.some(({ data }, index) => data.length !== wanted[index])) throw new LightmarkError(`${this.name} gives other outputs than its ModelSpec says; export it again.`);
		return outputs;
	}
	face([points, errors, confidence], index, matrix) {
		const { size, schema } = this.spec;
		const back = invert(matrix);
		const start = index * schema.size;
		const found = Array.from({ length: schema.size }, (_, point) => {
			const at = (start + point) * 2;
			return transform(back, [points.data[at] * size - .5, points.data[at + 1] * size - .5]);
		});
		const pixels = size / matrixScale(matrix);
		return {
			points: found,
			expected_error: errors ? Array.from(errors.data.subarray(start, start + schema.size), (error) => error * pixels) : null,
			confidence: confidence ? confidence.data[index] : null
		};
	}
};
/** The landmark model in an ONNX file that `lightmark export` wrote: its address, the file or its bytes. */
async function loadLandmarker(source, options = {}) {
	const name = nameOf(source, "model");
	const session = await openSession(await readBytes(source), name, options);
	const landmarker = new Landmarker(session, specFromMetadata(session.metadata, name), name);
	await landmarker.warmUp();
	return landmarker;
}
// src/lightmark/detection.ts
/** Detection: detector and landmark model together (Landmarker.detect in lightmark/landmarker.py). */
/** The faces that the detector is sure of, and of what it only proposes those in which the model sees a face. */
async function findFaces(picture, detector, landmarker) {
	const proposals = await detector.propose(picture);
	const faces = await facesOf(picture, proposals, landmarker);
	return faces.length ? faces : facesBeside(picture, proposals.filter(({ sure }) => sure), detector, landmarker);
}
/** Faces of a second search where all that the detector was sure of is `denied`: it must not hide what is hard to see. */
async function facesBeside(picture, denied, detector, landmarker) {
	if (!denied.length) return [];
	return facesOf(picture, await detector.propose(picture, denied.map(({ box }) => box)), landmarker);
}
/** Of `proposals` those that are faces: see `findFaces`. */
async function facesOf(picture, proposals, landmarker) {
	const standing = (await landmarker.confirm(picture, guessesOf(proposals))).filter((face, index) => stands(proposals[index], face));
	return proposals.some(({ sure }) => sure) ? standing : mostConfident(standing);
}
/** `faces` without those at the place of a more confident one: one face may be proposed by boxes that hardly overlap. */
function mostConfident(faces) {
	const kept = suppress(faces.map(({ points, confidence }, index) => ({
		box: tightBox(points),
		score: confidence ?? 0,
		index
	}))).map(({ index }) => index);
	return faces.filter((_, index) => kept.includes(index));
}
/** Where to look first for the faces proposed. */
function guessesOf(proposals) {
	return proposals.map(({ box, roll }) => ({
		box,
		roll: roll ?? 0
	}));
}
/** Whether what was proposed is a face after all. */
function stands({ sure }, { confidence }) {
	return confidence === null ? sure : confidence >= (sure ? DENIED : CONFIRMED);
}
// src/lightmark/source.ts
/** Sources: whatever a browser draws, as pixels. */
/** The pixels of `source`; a `Picture`, such as an `ImageData`, is one already. */
function toPicture(source, canvas) {
	if ("data" in source) return source;
	const [width, height] = extent(source);
	if (!width || !height) throw new LightmarkError("the picture is empty, or has not been loaded yet");
	const sheet = canvas ?? new OffscreenCanvas(width, height);
	if (sheet.width !== width) sheet.width = width;
	if (sheet.height !== height) sheet.height = height;
	const context = sheet.getContext("2d", {
		willReadFrequently: true,
		alpha: false
	});
	if (!context) throw new LightmarkError("this browser gives no canvas to read pictures with");
	context.drawImage(source, 0, 0, width, height);
	return context.getImageData(0, 0, width, height);
}
function extent(source) {
	if ("naturalWidth" in source) return [source.naturalWidth, source.naturalHeight];
	if ("videoWidth" in source) return [source.videoWidth, source.videoHeight];
	if ("displayWidth" in source) return [source.displayWidth, source.displayHeight];
	return [source.width, source.height];
}
// src/lightmark/measures.ts
var LEFT_LIDS = [[43, 44], [46, 47]];
var RIGHT_LIDS = [[37, 38], [40, 41]];
var LIPS = [[
	61,
	62,
	63
], [
	65,
	66,
	67
]];
var LIDS_SLOPE = .13;
var JAW_SLOPE = .26;
var WIDE_EYE = .14;
var WIDE_MOUTH = .45;
var LEAST_VIEW = .1;
var CLOSED_EYE = .4;
/** Openness of a face with 68 points, or WFLW's 98, and this pose. */
function opennessOf(points, pose) {
	const all = points.length === 98 ? ibug68FromWflw98(points) : points;
	const rotation = rotationOf(pose);
	const scale = headScale(all, rotation);
	const of = ([upper, lower], slope, wide) => {
		const down = [rotation[0][1] - slope * rotation[0][2], rotation[1][1] - slope * rotation[1][2]];
		const [from, to] = [mean(upper.map((index) => all[index])), mean(lower.map((index) => all[index]))];
		const opening = ((to[0] - from[0]) * down[0] + (to[1] - from[1]) * down[1]) / Math.max(down[0] ** 2 + down[1] ** 2, LEAST_VIEW) / scale;
		return Math.min(1, Math.max(0, opening / wide));
	};
	return {
		left: of(LEFT_LIDS, LIDS_SLOPE, WIDE_EYE),
		right: of(RIGHT_LIDS, LIDS_SLOPE, WIDE_EYE),
		mouth: of(LIPS, JAW_SLOPE, WIDE_MOUTH)
	};
}
/** Pixels of the distance between the outer eye corners, seen from the front: what fits the mean head best. */
function headScale(points, rotation) {
	const turned = HEAD.map((solid) => [0, 1].map((row) => solid.reduce((sum, value, axis) => sum + value * rotation[row][axis], 0)));
	const [x, y] = mean(turned);
	let [across, along] = [0, 0];
	turned.forEach(([u, v], index) => {
		const [du, dv] = [u - x, v - y];
		across += du * points[17 + index][0] + dv * points[17 + index][1];
		along += du * du + dv * dv;
	});
	return across / along;
}
function mean(points) {
	const sum = points.reduce(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
	return [sum[0] / points.length, sum[1] / points.length];
}
// src/lightmark/smoothing.ts
/** One-Euro smoothing of a face's points: steady at rest, quick when they move (lightmark/video/smoothing.py). */
var MIN_CUTOFF = 1;
var BETA = 25;
var D_CUTOFF = 2;
var TYPICAL_DOUBT = .02;
var DOUBT_RANGE = [.5, 2];
/** The One-Euro filter (Casiez, Roussel, Vogel, CHI 2012) over the points of one face; speeds count in face sizes. */
var OneEuro = class {
	seconds = -Infinity;
	points = null;
	velocity = [];
	/** Smoothed points at `seconds`, which must be later than the last call's. */
	smooth(points, seconds, expected_error) {
		const elapsed = seconds - this.seconds;
		this.seconds = seconds;
		if (this.points === null || !(elapsed > 0)) {
			this.points = points;
			this.velocity = points.map(() => [0, 0]);
			return points;
		}
		const [x0, y0, x1, y1] = tightBox(points);
		const size = Math.max(x1 - x0, y1 - y0);
		const before = this.points;
		const share = weight(D_CUTOFF, elapsed);
		this.velocity = this.velocity.map(([u, v], i) => [u + share * ((points[i][0] - before[i][0]) / (elapsed * size) - u), v + share * ((points[i][1] - before[i][1]) / (elapsed * size) - v)]);
		this.points = before.map(([x, y], i) => {
			const taken = weight((MIN_CUTOFF + BETA * Math.hypot(...this.velocity[i])) * (expected_error ? trust(expected_error[i] / size) : 1), elapsed);
			return [x + taken * (points[i][0] - x), y + taken * (points[i][1] - y)];
		});
		return this.points;
	}
};
/** Share of the new value in a low-pass filter of `cutoff` Hz whose last value is `elapsed` seconds old. */
function weight(cutoff, elapsed) {
	return 1 / (1 + 1 / (2 * Math.PI * cutoff * elapsed));
}
/** Factor on the cutoff of a point of this expected error, in face sizes. */
function trust(doubt) {
	return Math.min(Math.max(TYPICAL_DOUBT / doubt, DOUBT_RANGE[0]), DOUBT_RANGE[1]);
}
// src/lightmark/tracker.ts
/** Tracker: the faces of a camera, frame by frame, each with an id that it keeps (lightmark/video/tracker.py). */
var SAME_FACE = .3;
var CONVERGED = .5;
var SMALLEST = 8;
var MISSES = 3;
var REDETECT = 10;
var MIN_CONFIDENCE = .5;
var PATIENCE = .5;
var MOST_FACES = 6;
/** Follows faces: a face is sought in the box and at the roll of its last points, and the detector looks for new and lost ones. */
var Tracker = class {
	detector;
	landmarker;
	tracks = [];
	ids = 0;
	unsearched = 0;
	constructor(detector, landmarker) {
		this.detector = detector;
		this.landmarker = landmarker;
	}
	/** Whether the detector looked at the last frame. */
	searched = false;
	/** The faces of the next frame, shown at `seconds`; those known longest first. */
	async update(picture, seconds) {
		const before = this.inSight().length;
		await this.follow(picture, seconds);
		this.unsearched += 1;
		this.searched = this.inSight().length < Math.max(before, 1) || this.unsearched >= REDETECT;
		if (this.searched) await this.search(picture, seconds);
		this.tracks = this.tracks.filter((track) => seconds - track.seen <= PATIENCE);
		return this.inSight().map((track) => ({
			...track.face,
			id: track.id,
			points: track.smoother.smooth(track.face.points, seconds, track.face.expected_error)
		}));
	}
	inSight() {
		return this.tracks.filter((track) => !track.hidden);
	}
	/** Look for every face where it last was; of two tracks that come upon one face, the one that moved less stays. */
	async follow(picture, seconds) {
		const faces = await this.look(picture, this.tracks.map(({ place }) => place));
		const finds = this.tracks.map((track, index) => ({
			track,
			face: faces[index],
			stayed: overlap(track.place.box, this.boxOf(faces[index]))
		})).filter(({ face }) => this.holds(face, picture)).sort((a, b) => Number(a.track.hidden) - Number(b.track.hidden) || b.stayed - a.stayed);
		for (const track of this.tracks) track.hidden = true;
		for (const { track, face } of finds) if (this.bestMatch(face, this.inSight()).share <= CONVERGED) this.see(track, face, seconds);
	}
	/** Look at the whole picture for faces that nobody follows, and for those that have been away. */
	async search(picture, seconds) {
		this.unsearched = 0;
		const proposals = await this.detector.propose(picture);
		const certain = proposals.filter((one) => one.sure);
		this.forgetMissed(certain.map((one) => one.box));
		const fresh = proposals.filter(({ box }) => this.inSight().every((track) => overlap(box, track.place.box) < SAME_FACE));
		let found = await facesOf(picture, fresh, this.landmarker);
		if (!found.length && certain.every((one) => fresh.includes(one))) found = await facesBeside(picture, certain, this.detector, this.landmarker);
		const sure = found.filter((face) => this.holds(face, picture));
		const closer = await this.look(picture, sure.map((face) => this.landmarker.placeOf(face)));
		for (const face of closer) if (this.inSight().length < MOST_FACES && this.holds(face, picture)) this.takeUp(face, seconds);
	}
	forgetMissed(boxes) {
		for (const track of this.tracks) track.misses = boxes.every((box) => overlap(box, track.place.box) < SAME_FACE) && track.face.confidence === null ? track.misses + 1 : 0;
		this.tracks = this.tracks.filter((track) => track.misses < MISSES);
	}
	/** Follow `face`, under its old id if it has only been away, unless it is followed already. */
	takeUp(face, seconds) {
		if (this.bestMatch(face, this.inSight()).share > CONVERGED) return;
		const { track, share } = this.bestMatch(face, this.tracks.filter((one) => one.hidden));
		if (track && share >= SAME_FACE) {
			this.see(track, face, seconds);
			return;
		}
		const place = this.landmarker.placeOf(face);
		this.tracks.push({
			id: this.ids++,
			smoother: new OneEuro(),
			face,
			place,
			seen: seconds,
			hidden: false,
			misses: 0
		});
	}
	look(picture, places) {
		return this.landmarker.landmarks(picture, places.map(({ box }) => box), places.map(({ roll }) => roll));
	}
	see(track, face, seconds) {
		track.face = face;
		track.place = this.landmarker.placeOf(face, track.place.roll);
		track.seen = seconds;
		track.hidden = false;
	}
	boxOf(face) {
		return this.landmarker.placeOf(face).box;
	}
	/** Whether `face` is one, as far as model and geometry can tell. */
	holds(face, { width, height }) {
		const [x0, y0, x1, y1] = this.boxOf(face);
		const inside = 0 <= x0 + x1 && x0 + x1 <= 2 * (width - 1) && 0 <= y0 + y1 && y0 + y1 <= 2 * (height - 1);
		const large = Math.min(x1 - x0, y1 - y0) >= SMALLEST;
		return inside && large && (face.confidence === null || face.confidence >= MIN_CONFIDENCE);
	}
	bestMatch(face, tracks) {
		let best = {
			track: null,
			share: 0
		};
		for (const track of tracks) {
			const share = overlap(this.boxOf(face), track.place.box);
			if (best.track === null || share > best.share) best = {
				track,
				share
			};
		}
		return best;
	}
};
// src/lightmark/index.ts
/**
* Lightmark in the browser: faces and their landmarks, on the visitor's own machine.
*
*   const detector = await loadDetector("models/face.onnx");
*   const landmarker = await loadLandmarker("models/fast.onnx");
*   const faces = await detect(picture, detector, landmarker);   // an <img>, a canvas, a video, an ImageData …
*   faces[0].points                                              // [[x, y], …] in the picture's pixels
*/
/** The faces of a picture, the largest first: see `findFaces`. */
async function detect(source, detector, landmarker) {
	return findFaces(toPicture(source), detector, landmarker);
}
export { CLOSED_EYE, FaceDetector, Landmarker, LightmarkError, OneEuro, Tracker, detect, hasWebGpu, headPose, loadDetector, loadLandmarker, opennessOf, toPicture };
