import CoreML

/// One face: every point in pixels of the picture, how far off each may be, and whether it is a face at all.
struct Landmarks {
    let points: [SIMD2<Double>]
    let expected_error: [Double]
    let confidence: Float
}

/// The square crop of a face that Lightmark's models take, and the way back: FaceCrop.java in Swift.
///
/// Pixel centres lie at integers; a picture that is shrunk by more than 2 is first reduced by area.
struct FaceCrop {
    /// Red, green and blue planes of size × size numbers from 0 to 1: what the Core ML package is fed.
    let planes: [Float]

    private let size: Int
    private let zoom: Double
    private let centre: SIMD2<Double>

    /// - Parameters:
    ///   - picture: RGB, row by row
    ///   - box: x0, y0, x1, y1 of the tight box of the points in pixels of the picture
    ///   - size: the model's side of the crop in pixels, `size` of its ModelSpec
    ///   - scale: side of the crop over the longer side of the box, `crop_scale` of its ModelSpec
    init(picture: [UInt8], width: Int, height: Int, box: [Double], size: Int, scale: Double) {
        let side = scale * max(box[2] - box[0], box[3] - box[1])
        let zoom = Double(size) / side
        let centre = SIMD2((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        let factor = side / Double(size) > 2 ? Int(side / Double(size)) : 1
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
        func pixel(_ column: Int, _ row: Int, _ channel: Int) -> Double {  // black outside
            guard 0..<columns ~= column, 0..<rows ~= row else { return 0 }
            return means[(row * columns + column) * 3 + channel]
        }
        let middle = Double(size - 1) / 2
        var planes = [Float](repeating: 0, count: 3 * size * size)
        for row in 0..<size {
            let v = ((Double(row) - middle) / zoom + centre.y + 0.5) / Double(factor) - 0.5
            let top = Int(v.rounded(.down))
            let below = v - Double(top)
            for column in 0..<size {
                let u = ((Double(column) - middle) / zoom + centre.x + 0.5) / Double(factor) - 0.5
                let left = Int(u.rounded(.down))
                let right = u - Double(left)
                for channel in 0..<3 {
                    let upper = (1 - right) * pixel(left, top, channel) + right * pixel(left + 1, top, channel)
                    let lower = (1 - right) * pixel(left, top + 1, channel) + right * pixel(left + 1, top + 1, channel)
                    let value = ((1 - below) * upper + below * lower).rounded()  // a byte, as everywhere else
                    planes[(channel * size + row) * size + column] = Float(value / 255)
                }
            }
        }
        (self.planes, self.size, self.zoom, self.centre) = (planes, size, zoom, centre)
    }

    /// The place in the picture of a point that the model gave: 0 to 1 across the crop's outer edges.
    func toPicture(_ unit: SIMD2<Double>) -> SIMD2<Double> {
        (unit * Double(size) - 0.5 - Double(size - 1) / 2) / zoom + centre
    }

    /// How many pixels of the picture an expected error is, which the model gives as a share of the crop's side.
    func toPixels(_ share: Double) -> Double { share * Double(size) / zoom }
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

    /// Landmarks of the face in `box`: the tight box of its points, in a video of those one frame ago.
    func detect(picture: [UInt8], width: Int, height: Int, box: [Double]) throws -> Landmarks {
        let crop = FaceCrop(picture: picture, width: width, height: height, box: box, size: size, scale: cropScale)
        let planes = MLShapedArray<Float>(scalars: crop.planes, shape: [1, 3, size, size])
        let fed = try MLDictionaryFeatureProvider(dictionary: ["crops": MLMultiArray(planes)])
        let given = try model.prediction(from: fed)
        func numbers(_ name: String) -> [Float] {
            MLShapedArray<Float>(converting: given.featureValue(for: name)!.multiArrayValue!).scalars
        }
        let unit = numbers("unit_points")
        return Landmarks(
            points: (0..<unit.count / 2).map { crop.toPicture(SIMD2(Double(unit[2 * $0]), Double(unit[2 * $0 + 1]))) },
            expected_error: numbers("errors").map { crop.toPixels(Double($0)) },
            confidence: numbers("presence")[0])
    }
}
