import android.graphics.Bitmap
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

/**
 * Lightmark's face detector on Android. The file comes from
 *
 *     lightmark export face --to litert --out device
 *
 * which prints `threshold` and `possible`. A face below `threshold` is only a candidate: keep it if the landmark model's
 * confidence is at least 0.98. Beside a face at `threshold`, look only at candidates from 0.66 on, from 0.45 on if they have
 * 0.6 of the side of the largest such face, and keep those with a confidence of 0.99. (Lightmark's own detector looks at
 * each candidate again instead, as an input of 128 pixels in which its box has 80, and takes that score.)
 */
class FaceDetector(file: File, val threshold: Float = 0.71f, val possible: Float = 0.4f) {
    private val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(2))
    private val shape = interpreter.getInputTensor(0).shape() // 1, height, width, 3
    private val input = ByteBuffer.allocateDirect(shape[1] * shape[2] * 3).order(ByteOrder.nativeOrder())
    private var boxes = emptyArray<Array<FloatArray>>()
    private var scores = emptyArray<FloatArray>()
    private var keypoints: Array<Array<Array<FloatArray>>>? = null
    private val outputs: Map<Int, Any> =
        (0 until interpreter.outputTensorCount).associateWith { index ->
            val cells = interpreter.getOutputTensor(index).shape()[1]
            when (interpreter.getOutputTensor(index).numDimensions()) { // LiteRT may order its outputs anyhow
                4 -> Array(1) { Array(cells) { Array(5) { FloatArray(2) } } }.also { keypoints = it }
                3 -> Array(1) { Array(cells) { FloatArray(4) } }.also { boxes = it }
                else -> Array(1) { FloatArray(cells) }.also { scores = it }
            }
        }

    /** Faces and candidates in a picture, highest score first. The smallest are about 1/24 of its longer side. */
    fun detect(picture: Bitmap): List<FaceBoxes.Face> {
        val whole = FaceBoxes(rgbOf(picture), picture.width, picture.height, shape[2], shape[1])
        input.rewind()
        input.put(whole.rgb).rewind()
        interpreter.runForMultipleInputsOutputs(arrayOf(input), outputs)
        return whole.faces(boxes[0], scores[0], keypoints?.get(0), possible.toDouble())
    }
}
