"""The graph stages: fragments, particles and interactions, and how their networks are trained."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from lartpc.config.base import File, Section
from lartpc.config.learned import GraphTraining, Inference, UResNet


class RuleFragments(Section):
    """What the ways to fragments share that have no network of their own."""

    eps: tuple[float, float, float, float] = Field(
        (1.8, 1.8, 1.8, 1.8), description="link distance for shower, track, Michel, delta [voxel]"
    )
    break_radius: float = Field(5.0, ge=0, description="tracks are cut inside this radius of a point [voxel]")
    inner_radius: float = Field(
        2.5,
        ge=0,
        description="inside the cuts, pieces of tracks are told apart once more by cuts of this radius, so that short "
        "tracks at a vertex are fragments; 0: they are not [voxel]",
    )
    grow_below: int = Field(
        5,
        ge=0,
        description="pieces of fewer voxels called delta grow into voxels called track that may be theirs; 0: none do",
    )
    grow_score: float = Field(0.15, ge=0, le=1, description="least delta score of such a voxel")
    bridge_length: float = Field(
        30.0,
        ge=0,
        description="pieces of tracks that voxels called delta lead from one to another within this are one [voxel]; "
        "0: none are",
    )
    bridge_voxels: int = Field(
        10, ge=1, description="smaller pieces of tracks take no part in this: they may be of a delta"
    )


class Dbscan(RuleFragments):
    """Fragments by distance: DBSCAN per class, tracks broken at points."""

    method: Literal["dbscan"] = Field("dbscan", description="by distance; nothing is learned")
    min_voxels: int = Field(3, ge=1, description="smaller fragments are left ungrouped")


class Affinity(RuleFragments):
    """Fragments by the affinities of neighbouring voxels that `segment` gives; by distance where it gives none."""

    method: Literal["affinity"] = Field(
        "affinity",
        description="by the affinities of neighbouring voxels, if the weights of `segment` give them",
    )
    min_voxels: int = Field(2, ge=1, description="smaller fragments are left ungrouped")
    track_bias: float = Field(1.0, description="added to the affinities of pairs of tracks")
    other_bias: float = Field(0.0, description="added to the affinities of pairs of the other classes")
    point_bias: float = Field(
        -4.0, description="added besides to those of tracks within `point_radius` of a point of a track"
    )
    point_radius: float = Field(5.0, ge=0, description="radius of this around points; 0: none [voxel]")
    join_above: float = Field(
        8.0,
        ge=0,
        description="pieces of tracks of at least `bridge_voxels` that touch away from points are one if the sum of "
        "the affinities between them is above minus this; 0: no more are joined",
    )


class LearnedFragments(Section):
    """What the learned ways to fragments share."""

    unet: UResNet = UResNet.model_construct(repetitions=1)
    radius: float = Field(1.9, ge=1, lt=3, description="voxels of one class this near are linked [voxel]")
    min_voxels: int = Field(
        3, ge=1, description="smaller pieces go to a linked fragment; without one they are left ungrouped"
    )


class GraphSpice(LearnedFragments):
    """Fragments as components of a graph whose edges a network classifies (Graph-SPICE)."""

    method: Literal["graph_spice"] = Field("graph_spice", description="components of a learned graph")
    num_features: int = Field(16, ge=1, description="features of the embedding, besides position and spread")
    num_kernel: int = Field(32, ge=1, description="products in the bilinear kernel")
    edge_threshold: float = Field(0.95, gt=0, lt=1, description="links with a lower score do not hold")


class Embedding(LearnedFragments):
    """Fragments by clustering in a learned space, discriminative loss (arXiv:1708.02551)."""

    method: Literal["embedding"] = Field("embedding", description="clustering in a learned space")
    num_dimensions: int = Field(8, ge=1, description="dimensions of the space")
    pull_margin: float = Field(
        0.5, ge=0, description="voxels this near to the mean of their fragment are not pulled"
    )
    push_margin: float = Field(
        1.5, gt=0, description="means of touching fragments are pushed twice this far apart"
    )
    link_margin: float = Field(2.5, gt=0, description="linked voxels this near in the space are joined")
    regularisation: float = Field(1e-3, ge=0, description="weight of the distance of means from the origin")
    num_shifts: int = Field(6, ge=0, description="steps of mean shift before voxels are joined")

    @model_validator(mode="after")
    def _margins_leave_a_gap(self) -> Self:
        if self.push_margin <= 2 * self.pull_margin:
            raise ValueError(
                f"push_margin {self.push_margin} must be above twice pull_margin {self.pull_margin}: "
                "voxels of one fragment can be that far apart"
            )
        if self.link_margin > 2 * self.push_margin:
            raise ValueError(
                f"link_margin {self.link_margin} must not be above twice push_margin {self.push_margin}: "
                "fragments are pushed no farther apart"
            )
        return self


def _method(value: Any) -> str:
    """Return the method that settings are of; settings without one are of the default."""
    found = value.get("method", "affinity") if isinstance(value, dict) else getattr(value, "method", "")
    return str(found)


Fragments = Annotated[
    Annotated[Dbscan, Tag("dbscan")]
    | Annotated[Affinity, Tag("affinity")]
    | Annotated[GraphSpice, Tag("graph_spice")]
    | Annotated[Embedding, Tag("embedding")],
    Discriminator(_method),
]
"""Voxels to fragments, by one of four methods; each has its own settings."""


class GraphNet(Section):
    """GrapPA-like graph network (arXiv:2007.01335)."""

    num_hidden: int = Field(64, ge=1, description="width of nodes, edges and messages")
    num_message_passing: int = Field(3, ge=1, description="message-passing steps")
    leakiness: float = Field(0.1, ge=0, lt=1, description="negative slope of LeakyReLU")
    max_edges: int = Field(200_000, ge=1, description="nearest edges kept in one event")


class EdgeInfer(Inference):
    """Settings of a grouping stage that need no new training."""

    edge_threshold: float = Field(
        0.5, gt=0, lt=1, description="score of an edge that speaks neither for joining nor against it"
    )
    max_voxels: int = Field(200_000, ge=1, description="voxels packed into one batch")


class Cones(Section):
    """Particles by rules: cones around showers, gaps between the rest. Nothing is learned."""

    angle_rad: float = Field(0.25, gt=0, lt=1.6, description="half opening angle of the cones [rad]")
    length: float = Field(300.0, gt=0, description="length of the cones [voxel]")
    gap: float = Field(4.0, ge=0, description="fragments no farther apart almost touch [voxel]")
    kink_rad: float = Field(
        0.2, gt=0, lt=1.6, description="tracks that almost touch are one up to this angle [rad]"
    )


class ClusterInfer(EdgeInfer):
    """Settings of `cluster` that need no new training."""

    edge_threshold: float = Field(
        0.65,
        gt=0,
        lt=1,
        description="score of an edge that speaks neither for joining nor against it; chosen on validation events of "
        "the released weights",
    )
    particles: Literal["graph", "cones", "fragments"] = Field(
        "graph",
        description="how fragments become particles: by the graph network, by rules, or each for itself",
    )
    cones: Cones = Cones.model_construct()
    attach_distance: float = Field(
        2.0,
        ge=0,
        description="voxels left over by small fragments go to a fragment of any class this near [voxel]; 0: none do",
    )


class Cluster(Section):
    """Fragments, and their grouping into particles by a graph network or by rules."""

    fragments: Fragments = Field(Affinity.model_construct(), description="how voxels become fragments")
    graph: GraphNet = GraphNet.model_construct()
    edge_length: tuple[float, float, float, float] = Field(
        (500.0, 100.0, 25.0, 25.0),
        description="longest edge between two showers, tracks, Michels, deltas [voxel]",
    )
    touch_length: float = Field(
        3.0,
        ge=0,
        description="longest edge between any two classes, where wrong classes split particles [voxel]; 0: none",
    )
    upstream: Literal["predicted", "truth", "mixed"] = Field(
        "truth",
        description="train on the output of the stages before, on their truth, or each event at random on either",
    )
    infer: ClusterInfer = ClusterInfer.model_construct()
    train: GraphTraining = GraphTraining.model_construct(num_steps=400, batch_size=16, learning_rate=2.5e-3)
    weights: File | None = Field(None, description="released weights; null: train")


class PairLengths(Section):
    """Longest edges between particles of two classes [voxel]; 0: none."""

    shower_shower: float = Field(500.0, ge=0, description="between two showers [voxel]")
    shower_track: float = Field(500.0, ge=0, description="between a shower and a track [voxel]")
    shower_michel: float = Field(100.0, ge=0, description="between a shower and a Michel [voxel]")
    shower_delta: float = Field(100.0, ge=0, description="between a shower and a delta [voxel]")
    track_track: float = Field(200.0, ge=0, description="between two tracks [voxel]")
    track_michel: float = Field(25.0, ge=0, description="between a track and a Michel [voxel]")
    track_delta: float = Field(25.0, ge=0, description="between a track and a delta [voxel]")
    michel_michel: float = Field(25.0, ge=0, description="between two Michels [voxel]")
    michel_delta: float = Field(25.0, ge=0, description="between a Michel and a delta [voxel]")
    delta_delta: float = Field(25.0, ge=0, description="between two deltas [voxel]")


class InteractionRules(Section):
    """Interactions by rules: common vertices, and what points back to them. Nothing is learned."""

    touch: float = Field(
        4.0, ge=0, description="Michels and deltas no farther from a track than this belong to it [voxel]"
    )
    angle_rad: float = Field(
        0.4, gt=0, lt=1.6, description="largest angle at which a shower points back to a vertex [rad]"
    )
    length: float = Field(300.0, gt=0, description="farthest vertex that a shower points back to [voxel]")
    photon_dedx_mev_cm: float = Field(
        3.5, gt=0, description="a shower with a larger dE/dx at its start is a photon [MeV/cm]"
    )
    muon_length_cm: float = Field(
        15.0, ge=0, description="a track longer than this is a muon rather than a pion [cm]"
    )


class InteractInfer(EdgeInfer):
    """Settings of `interact` that need no new training."""

    interactions: Literal["graph", "rules"] = Field(
        "graph",
        description="how particles become interactions: by the graph network, or by rules, which need no weights",
    )
    rules: InteractionRules = InteractionRules.model_construct()
    start_trust: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="confidence in the points' choice of the start of a track; 0.5: the network alone decides",
    )
    choose_starts: bool = Field(
        True,
        description="choose the starts of showers and deltas again when the vertices are known, and take all again "
        "with these",
    )
    choose_classes: bool = Field(
        True,
        description="choose the class of showers, Michels and deltas again by what is around them, if the weights "
        "have a head for it, and take all again with these",
    )
    vertex_radius: float = Field(
        7.0, gt=0, description="by rules: starts nearer than this share a vertex [voxel]"
    )
    pi_zero_threshold: float = Field(0.6, gt=0, lt=1, description="least score of two photons of one π⁰")
    orphan_threshold: float = Field(
        0.65,
        ge=0,
        lt=1,
        description="least score of having no parent; with less a particle has the likeliest parent, however likely",
    )
    min_primary_voxels: int = Field(
        4,
        ge=1,
        description="smaller particles are not called primary: most of these are bits of others at a vertex",
    )


class Interact(Section):
    """Particles to interactions, with species, primaries, parents, a vertex and a flavour."""

    graph: GraphNet = GraphNet.model_construct()
    edge_length: PairLengths = PairLengths.model_construct()
    kaons: bool = Field(False, description="tell kaons from other tracks; the training sample must have some")
    upstream: Literal["predicted", "truth", "mixed"] = Field(
        "truth",
        description="train on the output of the stages before, on their truth, or each event at random on either",
    )
    infer: InteractInfer = InteractInfer.model_construct()
    train: GraphTraining = GraphTraining.model_construct(num_steps=600, batch_size=16, learning_rate=2.5e-3)
    weights: File | None = Field(None, description="released weights; null: train")

    @property
    def needs_weights(self) -> bool:
        """Whether the network is used."""
        return self.infer.interactions == "graph"
