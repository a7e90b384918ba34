import java.util.ArrayList;
import java.util.List;

/**
 * The input of Lightmark's face detector, and the faces in its outputs.
 *
 * Plain Java without a library, to be copied into an app beside FaceCrop.java. It does what
 * lightmark/detectors/face_detector.py does at one input size.
 */
public final class FaceBoxes {
    /** Boxes that overlap by more (intersection over union) are one face. */
    private static final double SAME_FACE = 0.4;
    /** A face's box is the mean of those that overlap the one with the highest score by this, */
    private static final double BLEND_OVERLAP = 0.7;
    /** and have this share of its score, weighted by score. */
    private static final double BLEND_SCORE = 0.8;

    /** A face: the tight box of its 68 points, x0, y0, x1, y1 in pixels of the picture, along the face's own axes. */
    public static final class Face {
        public final double[] box;
        /** Degrees by which the face is tilted counter-clockwise, NaN where the detector has no key points. */
        public final double roll;
        public final float score;

        Face(double[] box, double roll, float score) {
            this.box = box;
            this.roll = roll;
            this.score = score;
        }
    }

    /** RGB, row by row, width × height × 3 bytes: what the detector is fed. The picture lies in its upper left corner. */
    public final byte[] rgb;

    private final double zoom;

    /** Puts a picture, RGB row by row, into an input of width × height pixels. */
    public FaceBoxes(byte[] picture, int pictureWidth, int pictureHeight, int width, int height) {
        zoom = Math.min((double) width / pictureWidth, (double) height / pictureHeight);
        int factor = FaceCrop.Reduced.factor(1 / zoom);
        FaceCrop.Reduced reduced = new FaceCrop.Reduced(picture, pictureWidth, pictureHeight, factor);
        rgb = new byte[width * height * 3];
        for (int row = 0; row < height; row++) {
            for (int column = 0; column < width; column++) {
                double u = (toPicture(column) + 0.5) / factor - 0.5;
                double v = (toPicture(row) + 0.5) / factor - 0.5;
                for (int channel = 0; channel < 3; channel++) {
                    rgb[(row * width + column) * 3 + channel] = (byte) Math.round(reduced.at(u, v, channel));
                }
            }
        }
    }

    /**
     * The faces with a score of at least `threshold`, highest first.
     *
     * @param boxes output `boxes` of the detector, cells × 4
     * @param scores output `scores`, one a cell
     * @param keypoints output `keypoints`, cells × 5 × 2 (right and left eye, nose tip, right and left corner of the
     *     mouth), or null for a detector without it
     */
    public List<Face> faces(float[][] boxes, float[] scores, float[][][] keypoints, double threshold) {
        List<Integer> cells = new ArrayList<>();
        for (int cell = 0; cell < scores.length; cell++) {
            if (scores[cell] >= threshold) {
                cells.add(cell);
            }
        }
        cells.sort((one, other) -> Float.compare(scores[other], scores[one]));
        List<Face> faces = new ArrayList<>();
        while (!cells.isEmpty()) {
            int best = cells.get(0);
            double[] box = new double[4];
            double sum = 0;
            List<Integer> left = new ArrayList<>();
            for (int cell : cells) {
                double shared = cell == best ? 1 : overlap(boxes[best], boxes[cell]);
                if (shared >= BLEND_OVERLAP && scores[cell] >= BLEND_SCORE * scores[best]) {
                    sum += scores[cell];
                    for (int side = 0; side < 4; side++) {
                        box[side] += scores[cell] * toPicture(boxes[cell][side]);
                    }
                }
                if (shared <= SAME_FACE) {
                    left.add(cell);
                }
            }
            for (int side = 0; side < 4; side++) {
                box[side] /= sum;
            }
            faces.add(new Face(box, keypoints == null ? Double.NaN : rollOf(keypoints[best]), scores[best]));
            cells = left;
        }
        return faces;
    }

    private double toPicture(double place) {
        return (place + 0.5) / zoom - 0.5; // pixel centres lie at integers
    }

    private static double rollOf(float[][] keypoints) {
        double[] mouth = {(keypoints[3][0] + keypoints[4][0]) / 2.0, (keypoints[3][1] + keypoints[4][1]) / 2.0};
        return FaceCrop.rollOf(
            new double[] {keypoints[0][0], keypoints[0][1]}, new double[] {keypoints[1][0], keypoints[1][1]}, mouth);
    }

    private static double overlap(float[] a, float[] b) {
        double width = (double) Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
        double height = (double) Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
        double shared = Math.max(0, width) * Math.max(0, height);
        double areas = area(a) + area(b);
        return shared / (areas - shared);
    }
    private static double area(float[] box) {
        return ((double) box[2] - box[0]) * ((double) box[3] - box[1]);
    }
}
