import CoreML
import Foundation

/// One face: every point in pixels of the picture, how far off each may be, and whether it is a face at all.
struct Landmarks {
    let points: [SIMD2<Double>]
    let expected_error: [Double]
    let confidence: Float
}

/// The square crop of a face that Lightmark's models take, and the way back: FaceCrop.java in Swift.
///
/// Pixel centres lie at integers; a picture that is shrunk by 2 or more is first reduced by area.
struct FaceCrop {
    /// Red, green and blue planes of size × size numbers from 0 to 1: what the Core ML package is fed.
    let planes: [Float]

    private let size: Int
    private let zoom: Double
    private let cosine: Double  // of the roll
    private let sine: Double
    private let centre: SIMD2<Double>

    /// - Parameters:
    ///   - picture: RGB, row by row
    ///   - box: x0, y0, x1, y1 of the tight box of the points in pixels of the picture, `uprightBox` of a rolled face
    ///   - roll: degrees by which the face is tilted counter-clockwise, which the crop takes out: see `rollOf`
    ///   - size: the model's side of the crop in pixels, `size` of its ModelSpec
    ///   - scale: side of the crop over the longer side of the box, `crop_scale` of its ModelSpec
    init(picture: [UInt8], width: Int, height: Int, box: [Double], roll: Double = 0, size: Int, scale: Double) {
        let side = scale * max(box[2] - box[0], box[3] - box[1])
        let zoom = Double(size) / side
        let (cosine, sine) = (cos(roll * .pi / 180), sin(roll * .pi / 180))
        let centre = SIMD2((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        let factor = Reduced.factor(shrink: side / Double(size))
        let reduced = Reduced(picture: picture, width: width, height: height, factor: factor)
        let middle = Double(size - 1) / 2
        var planes = [Float](repeating: 0, count: 3 * size * size)
        for row in 0..<size {
            for column in 0..<size {
                let (x, y) = ((Double(column) - middle) / zoom, (Double(row) - middle) / zoom)
                let u = (cosine * x + sine * y + centre.x + 0.5) / Double(factor) - 0.5
                let v = (cosine * y - sine * x + centre.y + 0.5) / Double(factor) - 0.5
                for channel in 0..<3 {
                    planes[(channel * size + row) * size + column] = Float(reduced.at(u, v, channel) / 255)
                }
            }
        }
        (self.planes, self.size, self.zoom, self.centre) = (planes, size, zoom, centre)
        (self.cosine, self.sine) = (cosine, sine)
    }

    /// The place in the picture of a point that the model gave: 0 to 1 across the crop's outer edges.
    func toPicture(_ unit: SIMD2<Double>) -> SIMD2<Double> {
        let crop = (unit - 0.5) * Double(size) / zoom
        return SIMD2(cosine * crop.x + sine * crop.y, cosine * crop.y - sine * crop.x) + centre
    }

    /// How many pixels of the picture an expected error is, which the model gives as a share of the crop's side.
    func toPixels(_ share: Double) -> Double { share * Double(size) / zoom }
}

/// A picture whose pixels are the means of blocks of factor × factor; between them it is linear, outside it is black.
struct Reduced {
    private let means: [Double]
    private let columns: Int
    private let rows: Int

    /// The power of two that leaves less than 2 of what a crop shrinks the picture by.
    static func factor(shrink: Double) -> Int {
        shrink >= 2 ? 1 << (Int.bitWidth - 1 - Int(shrink).leadingZeroBitCount) : 1
    }

    init(picture: [UInt8], width: Int, height: Int, factor: Int) {
        let columns = (width + factor - 1) / factor
        let rows = (height + factor - 1) / factor
        var means = [Double](repeating: 0, count: columns * rows * 3)
        for row in 0..<rows * factor {
            let y = min(row, height - 1)  // the last block repeats the border
            for column in 0..<columns * factor {
                let from = (y * width + min(column, width - 1)) * 3
                let to = (row / factor * columns + column / factor) * 3
                for channel in 0..<3 {
                    means[to + channel] += Double(picture[from + channel]) / Double(factor * factor)
                }
            }
        }
        (self.means, self.columns, self.rows) = (means, columns, rows)
    }

    /// Between pixels u, v of the reduced picture, rounded to a byte, as everywhere else.
    func at(_ u: Double, _ v: Double, _ channel: Int) -> Double {
        let (left, top) = (Int(u.rounded(.down)), Int(v.rounded(.down)))
        let (right, below) = (u - Double(left), v - Double(top))
        let upper = (1 - right) * pixel(left, top, channel) + right * pixel(left + 1, top, channel)
        let lower = (1 - right) * pixel(left, top + 1, channel) + right * pixel(left + 1, top + 1, channel)
        return ((1 - below) * upper + below * lower).rounded()
    }

    private func pixel(_ column: Int, _ row: Int, _ channel: Int) -> Double {
        guard 0..<columns ~= column, 0..<rows ~= row else { return 0 }
        return means[(row * columns + column) * 3 + channel]
    }
}

/// Roll in degrees of a face with these 68 points: of the line between its eyes and of that from mouth to eyes.
func rollOf(_ points: [SIMD2<Double>]) -> Double {
    func mean(_ indices: [Int]) -> SIMD2<Double> { indices.map { points[$0] }.reduce(SIMD2(), +) / Double(indices.count) }
    return rollOf(right: mean(Array(36..<42)), left: mean(Array(42..<48)), mouth: mean([48, 54]))
}

/// The same from the centres of the right and left eye, the person's own, and of the mouth.
func rollOf(right: SIMD2<Double>, left: SIMD2<Double>, mouth: SIMD2<Double>) -> Double {
    let (across, down) = (left - right, mouth - (right + left) / 2)
    return atan2(down.x - across.y, across.x + down.y) * 180 / .pi
}

/// The roll to cut a video's next crop with, by the one that was `held` and that of the last points: it stays while the
/// face lies within 25 degrees of it, so that the points' noise turns no crop, and is 0 for an upright face.
func heldRoll(_ held: Double, _ roll: Double) -> Double {
    if !(abs((roll - held).remainder(dividingBy: 360)) > 25) { return held }
    return abs(roll) > 25 ? roll : 0
}

/// The tight box of points along the axes of a face that is rolled by these degrees, about its centre in the picture.
func uprightBox(_ points: [SIMD2<Double>], roll: Double) -> [Double] {
    let (cosine, sine) = (cos(roll * .pi / 180), sin(roll * .pi / 180))
    let upright = points.map { SIMD2(cosine * $0.x - sine * $0.y, sine * $0.x + cosine * $0.y) }
    let (xs, ys) = (upright.map(\.x), upright.map(\.y))
    let (low, high) = (SIMD2(xs.min()!, ys.min()!), SIMD2(xs.max()!, ys.max()!))
    let (middle, half) = ((low + high) / 2, (high - low) / 2)
    let centre = SIMD2(cosine * middle.x + sine * middle.y, cosine * middle.y - sine * middle.x)
    return [centre.x - half.x, centre.y - half.y, centre.x + half.x, centre.y + half.y]
}

/// A Lightmark model on Apple's systems; the package comes from `lightmark export fast --to coreml --out device`.
final class Landmarker {
    private let model: MLModel
    private let size: Int
    private let cropScale: Double

    /// `package` is device/fast.mlpackage; size and cropScale are in fast.mlpackage.json beside it.
    init(package: URL, size: Int = 128, cropScale: Double = 1.25) async throws {
        model = try await MLModel.load(contentsOf: MLModel.compileModel(at: package), configuration: MLModelConfiguration())
        (self.size, self.cropScale) = (size, cropScale)
    }

    /// Landmarks of a face whose roll is only guessed, in degrees: the surest answer of four directions, asked again in its
    /// upright box where the face is rolled.
    func search(picture: [UInt8], width: Int, height: Int, box: [Double], guess: Double = 0) throws -> Landmarks {
        func ask(_ box: [Double], _ roll: Double) throws -> Landmarks {
            try detect(picture: picture, width: width, height: height, box: box, roll: roll)
        }
        let first = try ask(box, guess)
        let sure = first.confidence > 0.99
        var best = first
        for turn in sure ? [] : [90.0, 180, -90] {
            let other = try ask(box, guess + turn)
            if other.confidence > best.confidence { best = other }
        }
        let roll = rollOf(best.points)
        if sure && max(abs(roll), abs((roll - guess).remainder(dividingBy: 360))) <= 25 { return first }
        let again = try ask(uprightBox(best.points, roll: roll), roll)
        return again.confidence > 0.5 ? again : first
    }

    /// Landmarks of a face that the detector has found.
    func detect(picture: [UInt8], width: Int, height: Int, face: DetectedFace) throws -> Landmarks {
        try search(picture: picture, width: width, height: height, box: face.box, guess: face.roll ?? 0)
    }

    /// Landmarks of the face in `box`, tilted counter-clockwise by `roll` degrees: the tight box of its points, in a video
    /// of those one frame ago (`uprightBox`).
    func detect(picture: [UInt8], width: Int, height: Int, box: [Double], roll: Double = 0) throws -> Landmarks {
        let crop = FaceCrop(
            picture: picture, width: width, height: height, box: box, roll: roll, size: size, scale: cropScale)
        let planes = MLShapedArray<Float>(scalars: crop.planes, shape: [1, 3, size, size])
        let fed = try MLDictionaryFeatureProvider(dictionary: ["crops": MLMultiArray(planes)])
        let given = try model.prediction(from: fed)
        func numbers(_ name: String) -> [Float] {
            MLShapedArray<Float>(converting: given.featureValue(for: name)!.multiArrayValue!).scalars
        }
        let unit = numbers("normalized_points")
        return Landmarks(
            points: (0..<unit.count / 2).map { crop.toPicture(SIMD2(Double(unit[2 * $0]), Double(unit[2 * $0 + 1]))) },
            expected_error: numbers("expected_error").map { crop.toPixels(Double($0)) },
            confidence: numbers("confidence")[0])
    }
}
