"""Changes that no test can notice because they mean the same, each with the reason.

By module, function and words, so that they are known when lines have moved: a line's number is in none of them.
"""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "render/lifecycle/reaper.py",
        "_in_grace",
        "-@transaction.atomic +# no atomic",
    ): "One UPDATE decides and locks the row itself; nothing else is written that would have to be undone with it.",
    (
        "render/lifecycle/reaper.py",
        "_in_grace",
        "- When(grace_until__lte=Now(), then=Value(None)), + When(grace_until__lte=Now(), ),",
    ): "NULL is what When has without a `then`.",
    (
        "accounts/billing/reports.py",
        "grouped",
        '- sums = rows.order_by().values(**groups).values("currency", *groups).annotate(**SUMS)'
        '.order_by(*groups, "currency")'
        ' + sums = rows.all().values(**groups).values("currency", *groups).annotate(**SUMS)'
        '.order_by(*groups, "currency")',
    ): "The order_by at the end replaces any before it.",
}
