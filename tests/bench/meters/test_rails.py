from __future__ import annotations

from pathlib import Path

import pytest
from machine_tree import plant, recorded

from reid.bench.meters.missing import Missing, sentence
from reid.bench.meters.rails import Rails, open_rails
from reid.bench.meters.tree import Tree


def opened(root: str) -> Rails:
    rails = open_rails(Tree(root))
    assert isinstance(rails, Rails)
    return rails


@pytest.mark.parametrize(
    ("machine", "source", "watts"),
    [
        ("orin-nano", "INA3221 (VDD_IN)", 5.016 * 1.896),
        ("orin-nx", "INA3221 (VDD_IN)", 19.68 * 0.296),  # by the driver's folder, as in older kernels
        # tegrastats printed VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0; the memory is a part of the last.
        ("agx-orin", "INA3221 (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)", 19.664 * 0.168 + 19.664 * 0.728 + 4.968),
    ],
)
def test_the_input_of_each_module_is_counted_once(machine: str, source: str, watts: float, tmp_path: Path) -> None:
    rails = opened(recorded(tmp_path, machine))
    assert rails.source == source
    assert rails.watts() == pytest.approx(watts)


def test_the_sensors_of_older_kernels_are_read_as_well(tmp_path: Path) -> None:
    folder = "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0"
    rails = opened(
        plant(
            tmp_path,
            f"{folder}/rail_name_0 = POM_5V_IN\n{folder}/in_voltage0_input = 5000\n{folder}/in_current0_input = 1200\n"
            f"{folder}/rail_name_1 = POM_5V_GPU\n{folder}/in_voltage1_input = 5000\n{folder}/in_current1_input = 400",
        )
    )
    assert rails.watts() == pytest.approx(6.0)


def test_the_sum_of_some_rails_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    recorded(tmp_path, "agx-orin")
    (tmp_path / "sys/class/hwmon/hwmon3/in3_label").write_text("NC\n")
    missing = open_rails(Tree(str(tmp_path)))
    assert isinstance(missing, Missing)
    assert sentence(missing) == "energy: there is no INA3221 sensor of a module's input"


def test_a_sensor_that_does_not_answer_has_no_power(tmp_path: Path) -> None:
    rails = opened(recorded(tmp_path, "orin-nano"))
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").write_text("\n")
    assert rails.watts() is None
    assert isinstance(open_rails(Tree(str(tmp_path))), Missing)
