"""What version 0.2, which the recordings come from, called things: every difference in words, and no other, is here."""

from __future__ import annotations

from typing import Any

from elixir.result import AttackedLabel, Result

SETTINGS = {
    "refine.rounds": "thresholds.recognizer_rounds",
    "refine.threshold": "thresholds.flag_threshold",
    "trigger.sure": "thresholds.certain_score",
}
"""0.2 -> now."""

MODELS = {
    "clean": "benign",
    "clean-first": "benign-first",
    "holdout": "retrial",
    "recognizer": "recognize",
    "detail-recognizer": "closer",
}
"""Now -> 0.2, without the numbers behind them; so are all tables that follow."""

COLUMNS = {"poison_score": "suspicion"}
NEW_COLUMNS = ("flagged",)

REASONS = {
    "flagged, but the clean model confirms its label": "suspected, but the benign model confirms its label",
    # 0.2 said the same where the clean model was not sure:
    "flagged, but the clean model gives it no other label": "suspected, but the benign model confirms its label",
}

DETECTORS = {
    "joint": "trigger",
    "trigger_transfer": "cause",
    "label_disagreement": "contradiction",
    "spectral_split": "pattern",
    "seed": "core",
    "expanded": "retrial",
    "noise_sensitivity": "drop",
}

EVIDENCE = {
    "trigger_transfer": "transplant",
    "group_transfer": "common_transplant",
    "difference_transfer": "difference_transplant",
    "label_disagreement": "contradiction",
    "disagrees": "denied",
    "excess_disagreement": "beyond_others",
    "other_label": "sure_of_another",
    "residual_effect": "residual_cause",
    "difference_effect": "difference_cause",
}

FACTS = {"unreadable_files": "uncopied"}
NEW_FACTS = ("labels", "triggers")


def setting(name: str) -> str:
    """What a setting of 0.2, "stage.key", is called now."""
    return SETTINGS.get(name, name)


def model_of_0_2(name: str) -> str:
    """The name in 0.2 of a model."""
    stem = name.rstrip("-0123456789")
    return MODELS.get(stem, stem) + name[len(stem) :]


def manifest_of_0_2(result: Result) -> dict[str, list[Any]]:
    """The manifest as 0.2 wrote it."""
    table = result.table
    columns = {COLUMNS.get(name, name): table.column(name).to_pylist() for name in map(str, table.column_names)}
    columns["reason"] = [_reason(reason) for reason in columns["reason"]]
    return {name: values for name, values in columns.items() if name not in NEW_COLUMNS}


def findings_of_0_2(result: Result, facts: dict[str, Any]) -> dict[str, Any]:
    """The findings as 0.2 wrote them: those of all labels in three entries."""
    kept = {FACTS.get(name, name): value for name, value in facts.items() if name not in NEW_FACTS}
    attacked = sorted(result.attacked, key=lambda label: (label.test == "holdout", label.label))
    kept["targets"] = [_target(label, result) for label in attacked]
    if any(test.kind == "direct" for report in result.labels for test in report.tests):
        scores = {report.name: report.direct_score for report in result.labels if report.direct_score}
        kept["scores"] = dict(sorted(scores.items(), key=lambda item: -item[1]))
        held_out = {
            report.name: {
                DETECTORS[test.detector]: round(test.score, 4) for test in report.tests if test.kind == "holdout"
            }
            for report in result.labels
        }
        kept["retried"] = {name: shares for name, shares in held_out.items() if shares}
    return kept


def _target(label: AttackedLabel, result: Result) -> dict[str, Any]:
    evidence = {EVIDENCE.get(name, name): value for name, value in label.evidence.items()}
    if label.test == "discrepancy":
        (report,) = (report for report in result.labels if report.label == label.label)
        evidence["anomalous"] = report.tests[0].group_size
    found = {
        "label": label.label,
        "name": label.name,
        "score": label.score,
        "suspects": label.flagged,
        "witness": DETECTORS.get(label.detector, label.detector),
        "evidence": evidence,
    }
    return found if "residual_cause" not in evidence else found | {"clean_label": label.clean_label}


def _reason(text: str) -> str:
    return REASONS.get(text) or "; ".join(REASONS.get(part, part) for part in text.split("; "))
