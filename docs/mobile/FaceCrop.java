/**
 * The square crop of a face that Lightmark's models take, and the way back from their points to the picture.
 *
 * Plain Java without a library, to be copied into an app (Kotlin calls it as it is). It does what lightmark/geometry.py and
 * lightmark/image.py do: pixel centres lie at integers, a picture that is shrunk by 2 or more is first reduced by area.
 */
public final class FaceCrop {
    /** RGB, row by row, size × size × 3 bytes: what a model with bytes as input is fed. */
    public final byte[] rgb;

    private final int size;
    private final double zoom;
    private final double cos; // of the roll, times the zoom
    private final double sin;
    private final double centreX;
    private final double centreY;

    /** The crop of a face without roll. */
    public FaceCrop(byte[] picture, int width, int height, double[] box, int size, double scale) {
        this(picture, width, height, box, 0, size, scale);
    }

    /**
     * Cuts the crop out of a picture, RGB row by row.
     *
     * @param box x0, y0, x1, y1 of the tight box of the points in pixels of the picture; in a video that of the last points
     * @param roll degrees by which the face is tilted counter-clockwise, which the crop takes out: see `rollOf`; the box
     *     is then that of `uprightBox`
     * @param size the model's side of the crop in pixels, `size` of its ModelSpec
     * @param scale side of the crop over the longer side of the box, `crop_scale` of its ModelSpec
     */
    public FaceCrop(byte[] picture, int width, int height, double[] box, double roll, int size, double scale) {
        this.size = size;
        double side = scale * Math.max(box[2] - box[0], box[3] - box[1]);
        zoom = size / side;
        cos = zoom * Math.cos(Math.toRadians(roll));
        sin = zoom * Math.sin(Math.toRadians(roll));
        centreX = (box[0] + box[2]) / 2;
        centreY = (box[1] + box[3]) / 2;
        int factor = Reduced.factor(side / size);
        Reduced reduced = new Reduced(picture, width, height, factor);
        rgb = new byte[size * size * 3];
        for (int row = 0; row < size; row++) {
            for (int column = 0; column < size; column++) {
                double[] place = toPicture((column + 0.5) / size, (row + 0.5) / size);
                double u = (place[0] + 0.5) / factor - 0.5;
                double v = (place[1] + 0.5) / factor - 0.5;
                for (int channel = 0; channel < 3; channel++) {
                    rgb[(row * size + column) * 3 + channel] = (byte) Math.round(reduced.at(u, v, channel));
                }
            }
        }
    }

    /** The place in the picture, x and y in pixels, of a point that the model gave: 0 to 1 across the crop's outer edges. */
    public double[] toPicture(double unitX, double unitY) {
        double x = (unitX - 0.5) * size;
        double y = (unitY - 0.5) * size;
        double area = zoom * zoom;
        return new double[] {(cos * x + sin * y) / area + centreX, (cos * y - sin * x) / area + centreY};
    }

    /** How many pixels of the picture an expected error is, which the model gives as a share of the crop's side. */
    public double toPixels(double share) {
        return share * size / zoom;
    }

    /** Roll in degrees of a face with these 68 points (x, y): of the line between its eyes and of that from mouth to eyes. */
    public static double rollOf(double[][] points) {
        return rollOf(mean(points, 36, 42, 1), mean(points, 42, 48, 1), mean(points, 48, 55, 6)); // corners of the mouth
    }

    /** The same from the centres of the right and left eye, the person's own, and of the mouth. */
    static double rollOf(double[] right, double[] left, double[] mouth) {
        double x = left[0] - right[0] + mouth[1] - (right[1] + left[1]) / 2;
        double y = left[1] - right[1] - mouth[0] + (right[0] + left[0]) / 2;
        return Math.toDegrees(Math.atan2(-y, x));
    }

    /**
     * The roll to cut a video's next crop with, by the one that was `held` and that of the last points: it stays while the
     * face lies within 25 degrees of it, so that the points' noise turns no crop, and is 0 for an upright face.
     */
    public static double heldRoll(double held, double roll) {
        boolean steady = !(Math.abs(Math.IEEEremainder(roll - held, 360)) > 25);
        return steady ? held : Math.abs(roll) > 25 ? roll : 0;
    }

    /** The tight box of points along the axes of a face that is rolled by these degrees, about its centre in the picture. */
    public static double[] uprightBox(double[][] points, double roll) {
        double cos = Math.cos(Math.toRadians(roll));
        double sin = Math.sin(Math.toRadians(roll));
        double[] box = {Double.MAX_VALUE, Double.MAX_VALUE, -Double.MAX_VALUE, -Double.MAX_VALUE};
        for (double[] point : points) {
            double x = cos * point[0] - sin * point[1];
            double y = sin * point[0] + cos * point[1];
            box = new double[] {
                Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)
            };
        }
        double middleX = (box[0] + box[2]) / 2;
        double middleY = (box[1] + box[3]) / 2;
        double x = cos * middleX + sin * middleY;
        double y = cos * middleY - sin * middleX;
        return new double[] {
            x + box[0] - middleX, y + box[1] - middleY, x + box[2] - middleX, y + box[3] - middleY
        };
    }

    private static double[] mean(double[][] points, int from, int to, int step) {
        double x = 0;
        double y = 0;
        int count = 0;
        for (int index = from; index < to; index += step, count++) {
            x += points[index][0];
            y += points[index][1];
        }
        return new double[] {x / count, y / count};
    }

    /** A picture whose pixels are the means of blocks of factor × factor; between them it is linear, outside it is black. */
    static final class Reduced {
        /** The power of two that leaves less than 2 of what a crop shrinks the picture by. */
        static int factor(double shrink) {
            return shrink >= 2 ? Integer.highestOneBit((int) shrink) : 1;
        }

        private final double[] means;
        private final int columns;
        private final int rows;

        Reduced(byte[] picture, int width, int height, int factor) {
            columns = (width + factor - 1) / factor;
            rows = (height + factor - 1) / factor;
            means = new double[columns * rows * 3];
            for (int row = 0; row < rows * factor; row++) {
                int y = Math.min(row, height - 1); // the last block repeats the border
                for (int column = 0; column < columns * factor; column++) {
                    int from = (y * width + Math.min(column, width - 1)) * 3;
                    int to = (row / factor * columns + column / factor) * 3;
                    for (int channel = 0; channel < 3; channel++) {
                        means[to + channel] += (picture[from + channel] & 255) / (double) (factor * factor);
                    }
                }
            }
        }

        /** Between pixels u, v of the reduced picture. */
        double at(double u, double v, int channel) {
            int column = (int) Math.floor(u);
            int row = (int) Math.floor(v);
            double right = u - column;
            double below = v - row;
            return (1 - below) * ((1 - right) * pixel(column, row, channel) + right * pixel(column + 1, row, channel))
                + below * ((1 - right) * pixel(column, row + 1, channel) + right * pixel(column + 1, row + 1, channel));
        }

        private double pixel(int column, int row, int channel) {
            boolean inside = 0 <= column && column < columns && 0 <= row && row < rows;
            return inside ? means[(row * columns + column) * 3 + channel] : 0;
        }
    }
}
