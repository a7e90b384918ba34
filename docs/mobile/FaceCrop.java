/**
 * The square crop of a face that Lightmark's models take, and the way back from their points to the picture.
 *
 * Plain Java without a library, to be copied into an app (Kotlin calls it as it is). It does what lightmark/geometry.py and
 * lightmark/image.py do: pixel centres lie at integers, a picture that is shrunk by more than 2 is first reduced by area.
 */
public final class FaceCrop {
    /** RGB, row by row, size × size × 3 bytes: what a model with bytes as input is fed. */
    public final byte[] rgb;

    private final int size;
    private final double zoom;
    private final double centreX;
    private final double centreY;

    /**
     * Cuts the crop out of a picture, RGB row by row.
     *
     * @param box x0, y0, x1, y1 of the tight box of the points in pixels of the picture; in a video that of the last points
     * @param size the model's side of the crop in pixels, `size` of its ModelSpec
     * @param scale side of the crop over the longer side of the box, `crop_scale` of its ModelSpec
     */
    public FaceCrop(byte[] picture, int width, int height, double[] box, int size, double scale) {
        this.size = size;
        double side = scale * Math.max(box[2] - box[0], box[3] - box[1]);
        zoom = size / side;
        centreX = (box[0] + box[2]) / 2;
        centreY = (box[1] + box[3]) / 2;
        int factor = side / size > 2 ? (int) (side / size) : 1;
        Reduced reduced = new Reduced(picture, width, height, factor);
        rgb = new byte[size * size * 3];
        double middle = (size - 1) / 2.0;
        for (int row = 0; row < size; row++) {
            double v = ((row - middle) / zoom + centreY + 0.5) / factor - 0.5;
            for (int column = 0; column < size; column++) {
                double u = ((column - middle) / zoom + centreX + 0.5) / factor - 0.5;
                for (int channel = 0; channel < 3; channel++) {
                    rgb[(row * size + column) * 3 + channel] = (byte) Math.round(reduced.at(u, v, channel));
                }
            }
        }
    }

    /** The place in the picture, x and y in pixels, of a point that the model gave: 0 to 1 across the crop's outer edges. */
    public double[] toPicture(double unitX, double unitY) {
        double middle = (size - 1) / 2.0;
        return new double[] {
            (unitX * size - 0.5 - middle) / zoom + centreX, (unitY * size - 0.5 - middle) / zoom + centreY
        };
    }

    /** How many pixels of the picture an expected error is, which the model gives as a share of the crop's side. */
    public double toPixels(double share) {
        return share * size / zoom;
    }

    /** A picture whose pixels are the means of blocks of factor × factor; between them it is linear, outside it is black. */
    private static final class Reduced {
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
