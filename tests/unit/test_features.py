"""Features: a passage that answers only together with another one is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rag_engine.retrieval.features import NAMES, Evidence, features, links

UNIT = np.eye(4, dtype=np.float32)


def evidence() -> Evidence:
    """Three passages: 0 mentions what 1 is about (entity 1); the question names entity 0."""
    return Evidence(
        question=np.array([0.8, 0.6, 0.0, 0.0], dtype=np.float32),
        vectors=UNIT[:3],
        documents=np.arange(3),
        walk=np.array([0.5, 0.3, 0.0]),
        fused=np.array([1.0, 0.2, 0.6]),
        ranks=np.array([0, 5, 2]),
        words=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
        rarity=np.array([0.5, 0.3, 0.2]),
        mentions=np.array([[1, 1], [0, 1], [1, 0]], dtype=np.float32),
        subjects=np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32),
        entity_rarity=np.array([0.9, 0.8]),
        named=np.array([True, False]),
    )


def column(found: np.ndarray, name: str) -> list[float]:
    return [round(value, 4) for value in found[:, NAMES.index(name)].tolist()]


def test_each_passage_has_every_feature() -> None:
    found = features(evidence())
    assert found.shape == (3, len(NAMES))
    assert np.isfinite(found).all()


def test_what_a_good_passage_mentions_is_linked_and_adds_words() -> None:
    found = features(evidence())
    assert column(found, "linked") == [0.0, 0.8, 0.0]
    assert column(found, "together")[1] == pytest.approx(0.8 * 0.8)
    assert column(found, "gain")[1] == pytest.approx(0.8 * 0.3)
    assert column(found, "gain")[2] == 0.0


def test_an_entity_of_the_question_is_no_link() -> None:
    about, link = links(evidence())
    assert about[0, 2] == link[0, 2] == 0.0
    assert about[1, 0] == link[0, 1] == 0.8
    assert not np.diag(link).any()


def test_an_entity_that_neither_is_about_links_less() -> None:
    both = np.array([[0, 1], [0, 1], [0, 0]], dtype=np.float32)
    _, link = links(replace(evidence(), mentions=both, subjects=np.zeros_like(both)))
    assert link[0, 1] == pytest.approx(0.7 * 0.8)


def test_a_link_within_a_document_is_worth_less() -> None:
    about, link = links(replace(evidence(), documents=np.array([4, 4, 7])))
    assert about[1, 0] == link[0, 1] == pytest.approx(0.3 * 0.8)


def test_the_residual_question_prefers_what_the_best_passage_leaves_open() -> None:
    found = column(features(evidence()), "residual")
    assert found[1] > found[2]


def test_without_vectors_the_residual_is_nothing() -> None:
    blind = replace(
        evidence(),
        question=np.zeros(4, dtype=np.float32),
        vectors=np.zeros((3, 4), dtype=np.float32),
    )
    found = features(blind)
    assert column(found, "residual") == [0.0, 0.0, 0.0]
    assert column(found, "linked")[1] == 0.8


def test_one_passage_alone_has_nobody_beside_it() -> None:
    one = evidence()
    alone = Evidence(
        question=one.question,
        vectors=one.vectors[:1],
        documents=one.documents[:1],
        walk=one.walk[:1],
        fused=one.fused[:1],
        ranks=one.ranks[:1],
        words=one.words[:1],
        rarity=one.rarity,
        mentions=one.mentions[:1],
        subjects=one.subjects[:1],
        entity_rarity=one.entity_rarity,
        named=one.named,
    )
    assert column(features(alone), "linked") == [0.0]
    assert column(features(alone), "residual") == [-1.0]
