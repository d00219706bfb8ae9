"""Columns that few rows need, however much there is to compute: optimized once, then interpreted for those rows.

Written as any other column, such an expression is analyzed, optimized and compiled with every micro-batch, although almost
no row gets to it; and functions of arrays, which Spark can only interpret, split the generated code of all other columns in
two, with a copy of each row between them. As an object with a method to call, as Spark's own functions of JSON are, it is in
neither the plan nor the code.

Source: Spark 4.1.1, `StructsToJson.replacement` (an `Invoke` of a literal object), `BindReferences`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.classic.column import _to_seq
from pyspark.sql.classic.dataframe import DataFrame


@dataclass(frozen=True)
class Interpreted:
    """The column `name`: `value` where the condition holds, which it does for few rows; null elsewhere.

    The value is deterministic, and uses neither aggregates nor the time of the query.
    """

    name: str
    condition: Column
    value: Column

    def over(self, frame: DataFrame) -> Column:
        """Return the column for this frame, and for any other with the same columns."""
        context, jvm = frame.sparkSession.sparkContext, frame.sparkSession._jvm
        catalyst, column_of = jvm.org.apache.spark.sql.catalyst.expressions, jvm.org.apache.spark.sql.classic.ExpressionUtils
        plan = self._optimized(frame)
        used = plan.references().toSeq()
        arguments = F.struct(*(F.col(used.apply(place).name()) for place in range(used.size())))
        value = plan.projectList().head().child()
        bound = catalyst.BindReferences.bindReference(value, getattr(catalyst, "package$AttributeSeq")(used), False)
        call = catalyst.objects.Invoke(
            catalyst.Literal(bound, jvm.org.apache.spark.sql.types.ObjectType(bound.getClass())),
            "eval",
            value.dataType(),
            _to_seq(context, [column_of.expression(arguments._jc)]),
            _to_seq(context, []),
            True,
            True,
            True,
        )
        return F.when(self.condition, Column(column_of.column(call))).alias(self.name)

    def _optimized(self, frame: DataFrame) -> Any:
        """Return the plan of this column alone, over rows of which Spark knows nothing."""
        session = frame.sparkSession
        unknown = session._jsparkSession.createDataFrame(session._jsc.emptyRDD(), frame._jdf.schema())
        rows = DataFrame(unknown, session).select(F.when(self.condition, self.value))
        plan = rows._jdf.queryExecution().optimizedPlan()
        if plan.nodeName() != "Project" or plan.child().children().nonEmpty():
            raise AssertionError(f"{self.name} is more than one projection: {plan.treeString()}")
        return plan
