"""What a fitted panel is worth, in lines for a person."""

from __future__ import annotations

from relabel.panel.record import PanelRecord


def report(record: PanelRecord) -> list[str]:
    """What a person wants to know of a panel, one line each."""
    found, at = record.measures, record.scale.relevant_from
    lines = []
    for member, weights in zip(found["members"], record.weights, strict=True):
        own = f"AUC(≥{at}) {_value(member['own']['auc'])}, alone with a fitted map log-loss "
        own += (
            f"{member['alone']['log_loss']['value']:.3f}, quadratic κ {member['alone']['quadratic_kappa']['value']:.3f}"
        )
        without = member["panel_less_without"]
        if without:
            gains = f"{_value(without['auc'], '+')} AUC and {_value(without['log_loss'], '+')} log-loss"
            own += f"; the panel has {gains} by it"
        lines.append(f"{member['name']}: {own}; weights {', '.join(f'{weight:+.2f}' for weight in weights)}")
    panel, best = found["panel"], found["panel_less_best"]["own"]["auc"]
    lines.append(
        f"the panel, cross-fitted: AUC(≥{at}) {_value(panel['auc'])}, log-loss {_value(panel['log_loss'])}, quadratic "
        f"κ {_value(panel['quadratic_kappa'])}, calibration error {panel['calibration_error']['value']:.3f}"
    )
    beats = "better than" if (best["low"] or 0) > 0 else "not clearly better than"
    lines.append(f"it is {beats} its best member {found['best_member']}: AUC {_value(best, '+')}")
    return lines


def _value(interval: dict, sign: str = "") -> str:
    if interval["low"] is None:
        return f"{interval['value']:{sign}.3f}"
    return f"{interval['value']:{sign}.3f} [{interval['low']:{sign}.3f}, {interval['high']:{sign}.3f}]"
