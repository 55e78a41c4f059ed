// Stands in for the package of this name, which only NuGet has, with what MXEval's tests use of it: same types, then
// equal values, lists in order, dictionaries by key, and the fields of anything else.
using System.Collections;
using System.Reflection;

namespace KellermanSoftware.CompareNetObjects
{
    public sealed class ComparisonResult
    {
        public bool AreEqual { get; internal set; }
    }

    public sealed class CompareLogic
    {
        public ComparisonResult Compare(object one, object other)
        {
            return new ComparisonResult { AreEqual = Same(one, other) };
        }

        static bool Same(object one, object other)
        {
            if (one == null || other == null) return one == null && other == null;
            if (one.GetType() != other.GetType()) return false;
            if (one is string || one.GetType().IsPrimitive || one.GetType().IsEnum || one is decimal) return one.Equals(other);
            IDictionary map = one as IDictionary;
            if (map != null)
            {
                IDictionary second = (IDictionary)other;
                if (map.Count != second.Count) return false;
                foreach (object key in map.Keys)
                    if (!second.Contains(key) || !Same(map[key], second[key])) return false;
                return true;
            }
            IEnumerable list = one as IEnumerable;
            if (list != null)
            {
                IEnumerator first = list.GetEnumerator(), next = ((IEnumerable)other).GetEnumerator();
                while (true)
                {
                    bool more = first.MoveNext();
                    if (more != next.MoveNext()) return false;
                    if (!more) return true;
                    if (!Same(first.Current, next.Current)) return false;
                }
            }
            foreach (FieldInfo field in one.GetType().GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
                if (!Same(field.GetValue(one), field.GetValue(other))) return false;
            return true;
        }
    }
}
