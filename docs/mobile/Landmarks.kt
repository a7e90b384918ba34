import android.graphics.Bitmap
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

/** One face: x and y of every point in pixels of the picture, how far off each may be, and whether it is a face at all. */
class Landmarks(val points: Array<DoubleArray>, val expected_error: DoubleArray, val confidence: Float)

/**
 * A Lightmark model on Android. The file comes from
 *
 *     lightmark export fast --to litert --uint8-input --out device
 *
 * size, cropScale and pointCount are those of `lightmark info device/fast.tflite`.
 */
class Landmarker(file: File, private val size: Int = 128, private val cropScale: Double = 1.25, pointCount: Int = 68) {
    private val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(2))
    private val input = ByteBuffer.allocateDirect(size * size * 3).order(ByteOrder.nativeOrder())
    private val places = arrayOf(Array(pointCount) { FloatArray(2) })
    private val errors = arrayOf(FloatArray(pointCount))
    private val confidence = FloatArray(1)
    private val outputs: Map<Int, Any> =
        (0 until interpreter.outputTensorCount).associateWith { index ->
            when (interpreter.getOutputTensor(index).numDimensions()) { // LiteRT may order its outputs anyhow
                3 -> places
                2 -> errors
                else -> confidence
            }
        }

    /**
     * Landmarks of the face in `box` (x0, y0, x1, y1), tilted counter-clockwise by `roll` degrees: the tight box of its
     * points, in a video of those one frame ago (`FaceCrop.uprightBox`).
     */
    fun detect(picture: Bitmap, box: DoubleArray, roll: Double = 0.0): Landmarks = landmarks(rgbOf(picture), picture, box, roll)

    /**
     * Landmarks of a face whose roll is only guessed, in degrees: the surest answer of four directions, asked again in its
     * upright box where the face is rolled.
     */
    fun search(picture: Bitmap, box: DoubleArray, guess: Double = 0.0): Landmarks {
        val rgb = rgbOf(picture)
        val first = landmarks(rgb, picture, box, guess)
        val sure = first.confidence > 0.99
        val turns = if (sure) emptyList() else listOf(90.0, 180.0, -90.0)
        val best = turns.map { landmarks(rgb, picture, box, guess + it) }
            .fold(first) { best, other -> if (other.confidence > best.confidence) other else best }
        val roll = FaceCrop.rollOf(best.points)
        if (sure && Math.max(Math.abs(roll), Math.abs(Math.IEEEremainder(roll - guess, 360.0))) <= 25) return first
        val again = landmarks(rgb, picture, FaceCrop.uprightBox(best.points, roll), roll)
        return if (again.confidence > 0.5) again else first
    }

    /** Landmarks of a face that the detector has found. */
    fun detect(picture: Bitmap, face: FaceBoxes.Face): Landmarks =
        search(picture, face.box, if (face.roll.isNaN()) 0.0 else face.roll)

    private fun landmarks(rgb: ByteArray, picture: Bitmap, box: DoubleArray, roll: Double): Landmarks {
        val crop = FaceCrop(rgb, picture.width, picture.height, box, roll, size, cropScale)
        input.rewind()
        input.put(crop.rgb).rewind()
        interpreter.runForMultipleInputsOutputs(arrayOf(input), outputs)
        val points = Array(places[0].size) { crop.toPicture(places[0][it][0].toDouble(), places[0][it][1].toDouble()) }
        val expected_error = DoubleArray(points.size) { crop.toPixels(errors[0][it].toDouble()) }
        return Landmarks(points, expected_error, confidence[0])
    }

}

/** RGB of a picture, row by row. */
internal fun rgbOf(picture: Bitmap): ByteArray {
    val argb = IntArray(picture.width * picture.height)
    picture.getPixels(argb, 0, picture.width, 0, 0, picture.width, picture.height)
    val rgb = ByteArray(argb.size * 3)
    argb.forEachIndexed { index, pixel ->
        rgb[3 * index] = (pixel shr 16).toByte()
        rgb[3 * index + 1] = (pixel shr 8).toByte()
        rgb[3 * index + 2] = pixel.toByte()
    }
    return rgb
}
