import numpy as np

from gapclose.report import player as of_player
from gapclose.report.player import MARGIN, WIDTH, Drawing, player_data, separation_steps
from gapclose.report.record import Plans, World
from tests.report.conftest import NUM_TASKS, STEPS, diverged, executed


def world_and_plans(wall):
    ghost, knowing = executed(wall, True), executed(wall, False)
    plans = {"baseline": {"open_loop": Plans.of(ghost, wall)}, "finetuned": {"open_loop": Plans.of(knowing, wall)}}
    return World.of(ghost, wall), plans


def test_the_world_fills_the_drawing_and_y_points_down(wall):
    place = Drawing(wall.outline().numpy())
    corners = np.array([[-2.0, -2.0], [2.0, 2.0]])
    assert place(corners) == [MARGIN, WIDTH - MARGIN, WIDTH - MARGIN, MARGIN]
    assert place.height == WIDTH


def test_the_data_of_the_player_are_the_plans(wall):
    world, plans = world_and_plans(wall)
    data = player_data(world, plans, replan_every=5)
    ghost = data["models"]["baseline"]["ways"]["open_loop"]
    assert (data["left"], data["right"], data["way"]) == ("baseline", "finetuned", "open_loop")
    assert len(ghost["states"]) == NUM_TASKS
    assert len(ghost["states"][0]) == 2 * (STEPS + 1)
    assert ghost["imagined"][0][-2:] == data["goal"][:2]
    assert ghost["states"][0][-2] < WIDTH / 2 < ghost["imagined"][0][-2]
    assert ghost["success"] == [False, False, False, True]
    assert data["ways"]["open_loop"]["replan"] is None


def test_figures_are_shown_where_there_are_any(wall, flagged):
    plain, figured = (player_data(*world_and_plans(simulator), None) for simulator in (wall, flagged))
    ghosts = [data["models"]["baseline"]["ways"]["open_loop"] for data in (plain, figured)]
    assert plain["figure"] is ghosts[0]["figures"] is ghosts[0]["imaginedFigures"] is None
    assert len(figured["figure"]) == NUM_TASKS
    assert len(figured["figure"][0]) == 8
    assert figured["figure"][0][:2] == figured["goal"][:2]
    assert len(ghosts[1]["figures"][0]) == STEPS + 1
    for kind, where in (("figures", "states"), ("imaginedFigures", "imagined")):
        first = np.array([figure[:2] for figure in ghosts[1][kind][0]])
        assert np.abs(first - np.array(ghosts[1][where][0]).reshape(-1, 2)).max() <= 1  # Stored in half precision.


def test_an_imagined_path_through_the_wall_separates_from_the_real_one_there(wall):
    world, plans = world_and_plans(wall)
    steps = separation_steps(plans["baseline"]["open_loop"], world)
    imagined, states = plans["baseline"]["open_loop"].imagined[0], plans["baseline"]["open_loop"].states[0]
    distance = np.linalg.norm(imagined - states, axis=-1)
    assert distance[steps[0]] > 0.125 >= distance[steps[0] - 1]
    assert steps[3] == -1
    assert (separation_steps(plans["finetuned"]["open_loop"], world) == -1).all()


def test_a_diverged_model_separates_at_its_first_state_that_is_not_a_number_and_promises_nothing(wall):
    world, plans = world_and_plans(wall)
    plans["baseline"]["open_loop"] = Plans.of(diverged(executed(wall, False)), wall)
    assert (separation_steps(plans["baseline"]["open_loop"], world) == 3).all()
    ghost = player_data(world, plans, None)["models"]["baseline"]["ways"]["open_loop"]
    assert ghost["promised"] == [None] * NUM_TASKS
    assert None not in ghost["distance"]


def test_a_page_has_a_limited_number_of_tasks_and_always_the_example_task(wall, monkeypatch):
    world, plans = world_and_plans(wall)
    monkeypatch.setattr(of_player, "MOST_NUMBERS", 1)
    last = {
        name: {"open_loop": ways["open_loop"]._replace(error=ways["open_loop"].error[::-1])}
        for name, ways in plans.items()
    }
    data = player_data(world, last, None)
    assert data["tasks"][data["task"]] == of_player.example_task(world, last)
    assert len(data["tasks"]) <= 2
