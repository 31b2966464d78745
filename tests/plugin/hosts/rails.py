"""What an idle Raspberry Pi 5 says of its rails."""

from __future__ import annotations

# As `vcgencmd pmic_read_adc` of a Raspberry Pi 5 prints it; the values of an idle board that
# https://gist.github.com/cleverca22/95d2cb2f4e1f59be2bd94f0e1d446cc9 lists.
RAILS = """\
 3V7_WL_SW_A current(0)=0.04782057A
   3V3_SYS_A current(1)=0.04684464A
   1V8_SYS_A current(2)=0.17078780A
  DDR_VDD2_A current(3)=0.02049453A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.18933040A
    0V8_SW_A current(6)=0.32888840A
  VDD_CORE_A current(7)=0.92871990A
   3V3_DAC_A current(17)=0.00054945A
   3V3_ADC_A current(18)=0.00018315A
   0V8_AON_A current(16)=0.00586080A
      HDMI_A current(22)=0.01636140A
 3V7_WL_SW_V volt(8)=3.70534400V
   3V3_SYS_V volt(9)=3.31467300V
   1V8_SYS_V volt(10)=1.80903400V
  DDR_VDD2_V volt(11)=1.10292900V
  DDR_VDDQ_V volt(12)=0.61575030V
   1V1_SYS_V volt(13)=1.10512700V
    0V8_SW_V volt(14)=0.80292960V
  VDD_CORE_V volt(15)=0.72097620V
   3V3_DAC_V volt(20)=3.30952000V
   3V3_ADC_V volt(21)=3.30952000V
   0V8_AON_V volt(19)=0.79765500V
      HDMI_V volt(23)=5.16034000V
     EXT5V_V volt(24)=5.17105900V
      BATT_V volt(25)=0.00598290V
"""


WATTS = 1.8985  # of the twelve rails together
