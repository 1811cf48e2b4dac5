import traceback
from PyQt6.QtWidgets import QApplication, QWidget
from PyQt6.QtCore import Qt, QObject, QEvent
from .person import Person
class F(QObject):
    def eventFilter(self, o, e):
        if isinstance(o, QWidget) and o.isWindow() and e.type() in (QEvent.Type.Show, QEvent.Type.Hide, QEvent.Type.WindowDeactivate, QEvent.Type.WindowActivate):
            print(e.type(), o, o.objectName())
            if e.type()==QEvent.Type.Show: traceback.print_stack(limit=8)
        return False
def test_x(qtbot, window, qapp):
    p = Person(qtbot, window)
    window.resize(1366,768)
    f = F(); qapp.installEventFilter(f)
    p.connect()
    p.go_to("align")
    for name, text in (("align-dwell", "0.05"), ("align-places", "11")):
        p.type_in(name, text, "align")
    p.click("align-light")
    for name in ("cross", "find", "centre"):
        p.click(f"align-{name}")
        print(name, QApplication.activeWindow())
        found = p.find("align-found")
        n = found.rowCount()
        p.until(lambda: found.rowCount() > n)
        print(name, QApplication.activeWindow())
    p.click("align-dark")
    p.until(lambda: not p.hub.status["station"]["aligning"])
    print( QApplication.activeWindow())
    qapp.removeEventFilter(f)
    assert 0
