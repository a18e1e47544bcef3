"""All sections together, and the rules between them."""

from pydantic import model_validator

from tasks.params.adaptation import AdaptLora
from tasks.params.filtering import FilterMasks, ScoreMasks
from tasks.params.masks import ExtractMasks
from tasks.params.measurement import (
    EvaluateSegmenter,
    RenderStorybook,
    TrainReference,
    WriteReport,
)
from tasks.params.prompts import ExpandPrompts
from tasks.params.sampling import SampleImages
from tasks.params.section import Section
from tasks.params.training import TrainSegmenter


class Params(Section):
    """The whole of ``params.yaml``."""

    render_storybook: RenderStorybook
    expand_prompts: ExpandPrompts
    adapt_lora: AdaptLora
    sample_images: SampleImages
    extract_masks: ExtractMasks
    score_masks: ScoreMasks
    filter_masks: FilterMasks
    train_segmenter: TrainSegmenter
    train_reference: TrainReference
    evaluate_segmenter: EvaluateSegmenter
    write_report: WriteReport

    @model_validator(mode="after")
    def _methods_find_their_inputs(self) -> "Params":
        capture, masks = self.sample_images.capture, self.extract_masks
        wants = f"extract_masks.method {masks.method} reads"
        problems = []
        if masks.step not in capture.steps:
            problems.append(
                f"sample_images.capture.steps: {wants} {masks.step!r}, which is not kept; "
                f"add it to [{', '.join(map(str, capture.steps))}]"
            )
        problems += [
            f"sample_images.capture.resolutions: {wants} side {side}, which is not kept; "
            f"add it, or change extract_masks.{masks.method}.resolutions"
            for side in capture.lacks_resolutions(masks.resolutions)
        ]
        if masks.method == "self_attention" and capture.self_attention is None:
            problems.append(
                f"sample_images.capture.self_attention: {wants} it, and null keeps none; give "
                "{resolution: 32, step: middle}, with a side that the model has"
            )
        if self.train_segmenter.reliability == "urn" and not masks.response_scalings:
            problems.append(
                "extract_masks.response_scalings: train_segmenter.reliability urn reads how the "
                "label varies over them, and there are none; give [0.5, 0.7, 1.0, 1.4, 2.0]"
            )
        if self.train_segmenter.reliability == "urn" and masks.all_claimed:
            problems.append(
                f"extract_masks.{masks.method}.beta: at 1 no scaling of the response moves a label "
                "to the background, so that train_segmenter.reliability urn weighs all alike; "
                "lower it, or choose another reliability"
            )
        problems += self._scores_lacking()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _scores_lacking(self) -> list[str]:
        """Rules of ``filter_masks`` for scores that ``score_masks`` does not make."""
        scores, rules = self.score_masks, self.filter_masks
        problems = []
        if rules.min_similarity is not None and scores.similarity.model == "none":
            problems.append(
                "score_masks.similarity.model: filter_masks.min_similarity needs a CLIP or SigLIP "
                "model, not none; name one, or set the rule to null"
            )
        if rules.min_quality is not None and not scores.cross_validation.folds:
            problems.append(
                "score_masks.cross_validation.folds: filter_masks.min_quality needs 2 or more, "
                "not 0; set folds: 3, or the rule to null"
            )
        return problems
