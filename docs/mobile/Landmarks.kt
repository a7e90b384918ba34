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
    private val presence = FloatArray(1)
    private val outputs: Map<Int, Any> =
        (0 until interpreter.outputTensorCount).associateWith { index ->
            when (interpreter.getOutputTensor(index).numDimensions()) { // told apart by shape, whatever their order
                3 -> places
                2 -> errors
                else -> presence
            }
        }

    /** Landmarks of the face in `box` (x0, y0, x1, y1): the tight box of its points, in a video of those one frame ago. */
    fun detect(picture: Bitmap, box: DoubleArray): Landmarks {
        val crop = FaceCrop(rgbOf(picture), picture.width, picture.height, box, size, cropScale)
        input.rewind()
        input.put(crop.rgb).rewind()
        interpreter.runForMultipleInputsOutputs(arrayOf(input), outputs)
        val points = Array(places[0].size) { crop.toPicture(places[0][it][0].toDouble(), places[0][it][1].toDouble()) }
        val expected_error = DoubleArray(points.size) { crop.toPixels(errors[0][it].toDouble()) }
        return Landmarks(points, expected_error, presence[0])
    }

    private fun rgbOf(picture: Bitmap): ByteArray {
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
}

/** The tight box of points: what the next frame's crop is cut around while the confidence stays above 0.5. */
fun boxOf(points: Array<DoubleArray>): DoubleArray =
    doubleArrayOf(points.minOf { it[0] }, points.minOf { it[1] }, points.maxOf { it[0] }, points.maxOf { it[1] })
