import CoreML
import Foundation

/// A face: the tight box of its 68 points, x0, y0, x1, y1 in pixels of the picture, along the face's own axes.
struct DetectedFace {
    let box: [Double]
    /// Degrees by which the face is tilted counter-clockwise, nil where the detector has no key points.
    let roll: Double?
    let score: Float
}

/// Lightmark's face detector on Apple's systems; the package comes from `lightmark export face --to coreml --out device`,
/// which prints `threshold` and `possible`. A face below `threshold` is only a candidate: keep it if the landmark model's
/// confidence is at least 0.98. Beside a face at `threshold`, look only at candidates from 0.66 on, from 0.45 on if they have
/// 0.6 of the side of the largest such face, and keep those with a confidence of 0.99. (Lightmark's own detector looks at
/// each candidate again instead, as an input of 128 pixels in which its box has 80, and takes that score.)
final class FaceDetector {
    let threshold: Float
    let possible: Float
    private let model: MLModel
    private let size: (width: Int, height: Int)

    /// `package` is device/face.mlpackage; `size` is the --input of the export.
    init(
        package: URL, size: (width: Int, height: Int) = (320, 320), threshold: Float = 0.71, possible: Float = 0.4
    ) async throws {
        model = try await MLModel.load(contentsOf: MLModel.compileModel(at: package), configuration: MLModelConfiguration())
        (self.size, self.threshold, self.possible) = (size, threshold, possible)
    }

    /// Faces and candidates in a picture, RGB row by row, highest score first; the smallest are about 1/24 of its longer side.
    func detect(picture: [UInt8], width: Int, height: Int) throws -> [DetectedFace] {
        // The picture lies in the upper left corner of the input.
        let zoom = min(Double(size.width) / Double(width), Double(size.height) / Double(height))
        func toPicture(_ place: Double) -> Double { (place + 0.5) / zoom - 0.5 }  // pixel centres lie at integers
        let factor = Reduced.factor(shrink: 1 / zoom)
        let reduced = Reduced(picture: picture, width: width, height: height, factor: factor)
        var pixels = [Float](repeating: 0, count: size.width * size.height * 3)
        for row in 0..<size.height {
            for column in 0..<size.width {
                let u = (toPicture(Double(column)) + 0.5) / Double(factor) - 0.5
                let v = (toPicture(Double(row)) + 0.5) / Double(factor) - 0.5
                for channel in 0..<3 {
                    pixels[(row * size.width + column) * 3 + channel] = Float(reduced.at(u, v, channel))
                }
            }
        }
        let image = MLShapedArray<Float>(scalars: pixels, shape: [1, size.height, size.width, 3])
        let given = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: ["image": MLMultiArray(image)]))
        func numbers(_ name: String) -> [Double]? {
            guard let values = given.featureValue(for: name)?.multiArrayValue else { return nil }
            return MLShapedArray<Float>(converting: values).scalars.map { toPicture(Double($0)) }
        }
        let scores = MLShapedArray<Float>(converting: given.featureValue(for: "scores")!.multiArrayValue!).scalars
        let (boxes, keypoints) = (numbers("boxes")!, numbers("keypoints"))
        var cells = scores.indices.filter { scores[$0] >= possible }.sorted { scores[$0] > scores[$1] }
        func boxOf(_ cell: Int) -> [Double] { Array(boxes[4 * cell..<4 * cell + 4]) }
        var faces: [DetectedFace] = []
        while let best = cells.first {
            let shared = cells.map { $0 == best ? 1 : overlap(boxOf(best), boxOf($0)) }
            // The mean of the boxes that are nearly the best one's, weighted by score.
            let near = zip(cells, shared).filter { $1 >= 0.7 && scores[$0] >= 0.8 * scores[best] }.map(\.0)
            let sum = near.reduce(0.0) { $0 + Double(scores[$1]) }
            let box = (0..<4).map { side in near.reduce(0.0) { $0 + Double(scores[$1]) * boxOf($1)[side] } / sum }
            faces.append(DetectedFace(box: box, roll: keypoints.map { rollOfCell($0, best) }, score: scores[best]))
            cells = zip(cells, shared).filter { $1 <= 0.4 }.map(\.0)  // more is the same face
        }
        return faces
    }

    /// Of the key points of a cell: right and left eye, nose tip, right and left corner of the mouth.
    private func rollOfCell(_ keypoints: [Double], _ cell: Int) -> Double {
        func point(_ index: Int) -> SIMD2<Double> {
            SIMD2(keypoints[10 * cell + 2 * index], keypoints[10 * cell + 2 * index + 1])
        }
        return rollOf(right: point(0), left: point(1), mouth: (point(3) + point(4)) / 2)
    }

    private func overlap(_ a: [Double], _ b: [Double]) -> Double {
        let shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
    }
}
