"""The exception tree: everything Lightmark raises on purpose derives from `LightmarkError`."""


class LightmarkError(Exception):
    """Base of every error that Lightmark raises on purpose."""


class SchemaError(LightmarkError):
    """A landmark schema that contradicts itself, or points that do not fit one."""


class GeometryError(LightmarkError):
    """A box or matrix that cannot be used: empty, not finite, singular."""


class ImageError(LightmarkError):
    """A picture that cannot be read or has the wrong form."""


class VideoError(LightmarkError):
    """A video or camera that cannot be opened, read or written."""


class DataError(LightmarkError):
    """A data set, annotation file or prediction file that cannot be used as it is."""


class SpecError(LightmarkError):
    """A ModelSpec that is incomplete or contradicts the model beside it."""


class CheckpointError(LightmarkError):
    """A model file that is cut, foreign or does not fit the code that loads it."""


class ConfigError(LightmarkError):
    """A recipe or option that cannot be carried out."""


class TrainingError(LightmarkError):
    """A training that cannot go on: its loss is no longer finite, or one of its processes has ended."""


class ExportError(LightmarkError):
    """An exported file that is not the model it came from."""


class MissingExtraError(LightmarkError):
    """An optional dependency is not installed; the message holds the install line."""
